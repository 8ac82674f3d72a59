//! Through which proxy HTTP requests go: of the environment, of the file, or none.
//!
//! The one place for all that speaks HTTP. A proxy's URL may hold a password, so it is shown by its name alone.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use hyper_util::client::proxy::matcher::Matcher;
use secrecy::ExposeSecret as _;
use serde_json::Value as Json;
use url::{Host, Url};

use super::environment::Environment;
use super::mistake::{ConfigError, Mistake};
use super::reader::Reader;
use super::secret::{Kind, Lookup, Secret};
use super::setting::{DigestValues, Setting};
use super::written::Position;

/// What is said of proxies.
#[derive(Debug, Clone)]
pub enum Proxy {
    /// What the environment says: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    Environment,
    /// None.
    None,
    /// This one, for everything but loopback.
    At(Secret),
}

/// Which addresses are reached through which proxy.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<Via>,
    https: Option<Via>,
    except: Option<Except>,
}

/// A proxy.
#[derive(Clone)]
pub struct Via {
    /// Its URL, which may hold a user and password.
    pub url: Url,
    /// Its URL without these.
    pub name: String,
    /// Where it was found: a variable or a key.
    pub from: String,
}

impl fmt::Debug for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.name, self.from)
    }
}

/// The hosts of `NO_PROXY`.
#[derive(Debug, Clone)]
struct Except(Arc<Matcher>);

impl Except {
    fn new(hosts: &str) -> Self {
        // What this proxy does not take is what the list names.
        Self(Arc::new(Matcher::builder().all("http://proxy").no(hosts).build()))
    }

    fn names(&self, url: &Url) -> bool {
        url.as_str().parse().is_ok_and(|uri| self.0.intercept(&uri).is_none())
    }
}

/// The URL of a proxy.
struct ProxyUrl;

impl Kind for ProxyUrl {
    const FORM: &'static str = "`env`, `none` or a URL";

    fn literal(text: &str) -> Result<(), String> {
        let url = address(text)?;
        if url.username().is_empty() && url.password().is_none() && !text.contains('@') {
            return Ok(());
        }
        Err("a proxy's URL with a user or password never stands in this file: write env:NAME or file:PATH, \
             and if the password was the real one, change it"
            .to_owned())
    }

    fn check(text: &str) -> Result<(), String> {
        address(text).map(|_| ())
    }
}

/// The digest does not tell it: it changes nothing of what is archived.
impl Setting for Proxy {
    type Written = String;
    type Value = Self;

    fn schema() -> Json {
        Lookup::<ProxyUrl>::schema()
    }

    fn read(reader: &mut Reader<'_>, written: String, key: &str) -> Option<Self> {
        match written.as_str() {
            "env" => Some(Self::Environment),
            "none" => Some(Self::None),
            _ => Lookup::<ProxyUrl>::read(reader, written, key).map(Self::At),
        }
    }

    fn tell(_: &Self, _: &str, _: &mut DigestValues) {}
}

impl Proxy {
    /// Looks up what is said. `key` is that of the setting, and `at` where its app stands: it need not be written.
    pub(super) fn resolve(&self, environment: &Environment, key: &str, at: Position) -> Result<Proxies, ConfigError> {
        match self {
            Self::None => Ok(Proxies::default()),
            Self::At(secret) => {
                let url = secret.look_up()?;
                let url = address(url.expose_secret()).map_err(|message| secret.error(message))?;
                let via = via(url, key);
                Ok(Proxies { http: Some(via.clone()), https: Some(via), except: None })
            }
            Self::Environment => {
                // Of these the first that is there counts, as everywhere. A server that hands a request's headers on as
                // variables (CGI) would make HTTP_PROXY of a header `Proxy`.
                let http = if environment.get("REQUEST_METHOD").is_some() { "http_proxy" } else { "HTTP_PROXY" };
                let find = |names: &[&str]| {
                    let found = names.iter().find_map(|name| Some((*name, environment.get(name)?)));
                    let Some((name, text)) = found.filter(|(_, text)| !text.is_empty()) else { return Ok(None) };
                    let wrong = |message| {
                        let message = format!("the environment variable {name} {message}; proxy: none ignores it");
                        environment.error(Mistake { at, key: key.to_owned(), message })
                    };
                    address(&text).map(|url| Some(via(url, name))).map_err(wrong)
                };
                let all = find(&["ALL_PROXY", "all_proxy"])?;
                let except = environment.get("NO_PROXY").or_else(|| environment.get("no_proxy"));
                Ok(Proxies {
                    http: find(&[http, "http_proxy"])?.or_else(|| all.clone()),
                    https: find(&["HTTPS_PROXY", "https_proxy"])?.or(all),
                    except: except.map(|hosts| Except::new(&hosts)),
                })
            }
        }
    }
}

impl Proxies {
    /// The proxy through which this address is reached; `None` when it is reached directly, as loopback always is.
    pub fn of(&self, url: &Url) -> Option<&Via> {
        let via = if url.scheme() == "http" { &self.http } else { &self.https };
        let direct = is_loopback(url) || self.except.as_ref().is_some_and(|except| except.names(url));
        via.as_ref().filter(|_| !direct)
    }
}

fn via(url: Url, from: &str) -> Via {
    let mut bare = url.clone();
    // Neither fails for an address with a host.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    Via { name: bare.as_str().trim_end_matches('/').to_owned(), url, from: from.to_owned() }
}

/// The address of a proxy; the error never quotes it.
fn address(text: &str) -> Result<Url, String> {
    let wrong = || "is no URL of a proxy, such as http://proxy.example:3128".to_owned();
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&whole).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h") {
        return Err("is no http://, https://, socks5:// or socks5h:// URL of a proxy".to_owned());
    }
    if !url.has_host() {
        return Err(wrong());
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err("has something after its host and port: a proxy has no path, \
                    and within a password / is written %2F, # %23, ? %3F, @ %40"
            .to_owned());
    }
    Ok(url)
}

/// Whether a URL leads to this machine itself.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => {
            address.is_loopback() || address.to_ipv4_mapped().as_ref().is_some_and(Ipv4Addr::is_loopback)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn of_environment(variables: &[(&str, &str)], url: &str) -> Result<Option<String>, String> {
        let variables: Vec<(String, String)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let environment = Environment::new(Path::new("jobs.yaml"), move |name| {
            variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        });
        let at = Position { line: 1, column: 1 };
        let proxies =
            Proxy::Environment.resolve(&environment, "apps.main.proxy", at).map_err(|wrong| wrong.to_string())?;
        let url = Url::parse(url).expect("a URL");
        Ok(proxies.of(&url).map(|via| format!("{via:?}")))
    }

    #[test]
    fn the_environment_says_what_it_says_to_every_other_program() {
        let api = "https://open.yunxinapi.com/im";
        let found = |variables: &[(&str, &str)], url: &str| of_environment(variables, url).expect("right variables");
        let through = |name: &str, from: &str| Some(format!("{name} of {from}"));
        assert_eq!(found(&[], api), None);
        let both = [("HTTPS_PROXY", "http://a:1"), ("https_proxy", "http://b:2"), ("ALL_PROXY", "http://c:3")];
        assert_eq!(found(&both, api), through("http://a:1", "HTTPS_PROXY"));
        assert_eq!(found(&both[1..], api), through("http://b:2", "https_proxy"));
        assert_eq!(found(&both[2..], api), through("http://c:3", "ALL_PROXY"));
        assert_eq!(found(&[("HTTP_PROXY", "http://a:1")], api), None);
        assert_eq!(found(&[("HTTP_PROXY", "http://a:1")], "http://store/"), through("http://a:1", "HTTP_PROXY"));
        assert_eq!(found(&[("HTTP_PROXY", "http://a:1"), ("REQUEST_METHOD", "GET")], "http://store/"), None);
        assert_eq!(found(&[("HTTPS_PROXY", "")], api), None);
        assert_eq!(found(&[("HTTPS_PROXY", "proxy:3128")], api), through("http://proxy:3128", "HTTPS_PROXY"));
        assert_eq!(found(&[("all_proxy", "socks5h://u:hunter2@s:1")], api), through("socks5h://s:1", "all_proxy"));
    }

    #[test]
    fn loopback_and_what_no_proxy_names_is_reached_directly() {
        let found = |no: &str, url: &str| {
            of_environment(&[("ALL_PROXY", "http://p:1"), ("NO_PROXY", no)], url).expect("right variables").is_some()
        };
        for url in ["https://localhost:1/", "https://127.0.0.9/", "https://[::1]:8/", "http://LOCALHOST/"] {
            assert!(!found("", url), "{url}");
        }
        for (no, url) in [
            ("yunxinapi.com", "https://open.yunxinapi.com/"),
            (".yunxinapi.com", "https://open.yunxinapi.com/"),
            ("a.example, OPEN.yunxinapi.com", "https://open.yunxinapi.com/"),
            ("10.0.0.0/8", "https://10.1.2.3:444/"),
            ("*", "https://open.yunxinapi.com/"),
        ] {
            assert!(!found(no, url), "{no} {url}");
        }
        assert!(found("yunxinapi.com", "https://notyunxinapi.com/"));
        assert!(found("10.0.0.0/8", "https://11.1.2.3/"));
    }

    #[test]
    fn a_wrong_proxy_is_told_without_being_shown() {
        for text in
            ["ftp://u:hunter2@p:1", "http://u:hunter2/x@p:1", "http://u:hunter2@", "http://u:hun#ter2@p", "hunter2 x"]
        {
            let message = of_environment(&[("HTTPS_PROXY", text)], "https://a.example/").expect_err(text);
            assert!(message.contains("HTTPS_PROXY") && !message.contains("hunter2"), "{message}");
        }
    }
}
