//! Requests go through the proxy that the environment or the file names, and say so when it is at fault.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use yunxin_archiver::simulator::{APP_KEY, Handle};

use crate::support::site::{Ended, Site, dialogue};
use crate::support::tls::tls_before;

/// A name that no resolver knows: whoever asks for it goes through a proxy, or fails.
const API: &str = "yunxin.invalid";

/// What a proxy does with what it is asked.
#[derive(Clone, Copy)]
pub(crate) enum Manner {
    /// Connects to the API.
    Connects,
    /// Answers with this status.
    Refuses(u16),
    /// Speaks SOCKS 5 and connects to the API.
    Socks,
}

/// A proxy of this manner before the API, and what it heard.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub(crate) fn start(manner: Manner, api: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let heard = Arc::clone(&all);
                std::thread::spawn(move || serve(client, manner, api, &heard));
            }
        });
        Self { address, heard }
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

fn serve(mut client: TcpStream, manner: Manner, api: SocketAddr, heard: &Mutex<Vec<String>>) -> Option<()> {
    match manner {
        Manner::Socks => {
            let mut greeting = [0; 2];
            client.read_exact(&mut greeting).ok()?;
            client.read_exact(&mut vec![0; greeting[1].into()]).ok()?;
            client.write_all(&[5, 0]).ok()?;
            let mut asked = [0; 5];
            client.read_exact(&mut asked).ok()?;
            assert_eq!(asked[3], 3, "a name that the proxy is to look up");
            let mut name = vec![0; asked[4].into()];
            client.read_exact(&mut name).ok()?;
            client.read_exact(&mut [0; 2]).ok()?;
            heard.lock().unwrap().push(String::from_utf8(name).unwrap());
            client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).ok()?;
        }
        Manner::Connects | Manner::Refuses(_) => {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).ok()?;
                request.push(byte[0]);
            }
            heard.lock().unwrap().push(String::from_utf8(request).unwrap());
            if let Manner::Refuses(status) = manner {
                client.write_all(format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n").as_bytes()).ok()?;
                return None;
            }
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
        }
    }
    let server = TcpStream::connect(api).ok()?;
    let (mut up, mut down) = ((client.try_clone().ok()?, server.try_clone().ok()?), (server, client));
    std::thread::spawn(move || {
        std::io::copy(&mut up.0, &mut up.1).ok();
        up.1.shutdown(Shutdown::Write).ok();
    });
    std::io::copy(&mut down.0, &mut down.1).ok();
    down.1.shutdown(Shutdown::Write).ok();
    Some(())
}

/// A job whose API is reached under a name that nobody knows, by TLS.
struct Far {
    site: Site,
    api: SocketAddr,
    port: u16,
}

impl Far {
    fn new() -> Self {
        let site = Site::nightly(dialogue("alice|1|bob", 0..30));
        let (port, pem) = tls_before(address(&site.api), API);
        site.write("ca.pem", pem);
        let far = Self { site, api: SocketAddr::from(([127, 0, 0, 1], port)), port };
        far.configure("");
        far
    }

    /// Writes the configuration, with these keys more of the app.
    fn configure(&self, app: &str) {
        self.site.write(
            "jobs.yaml",
            format!(
                "version: 1\nstate: state\napps:\n  main: {{ app_key: {APP_KEY}, app_secret: 'file:secret', \
                 endpoints: ['https://{API}:{}'], ca_file: ca.pem, rate_limit: 2000{app} }}\njobs:\n  nightly: {{ app: main, \
                 source: {{ csv: {{ path: refs.csv }} }}, fetch: {{ give_up_after: 1s }}, \
                 sink: {{ parquet: {{ path: archive }} }} }}\n",
                self.port
            ),
        );
    }

    /// Runs with these variables and no other that speaks of proxies.
    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
        let mut command = self.site.command(arguments);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        command.envs(variables.iter().copied());
        crate::support::site::Running::start(&mut command).end()
    }
}

fn address(api: &Handle) -> SocketAddr {
    api.addr()
}

/// Every request to the API came through the proxy, and everything was archived.
fn arrived(far: &Far, proxy: &Proxy, ended: Ended) -> Ended {
    let ended = ended.exits(0);
    assert_eq!(ended.refs("archived"), 30);
    assert!(!proxy.heard().is_empty());
    assert_eq!(far.site.api.stats().requests, ended.requests("sent"));
    ended
}

#[test]
fn the_proxy_of_the_environment_is_used_and_told_once_without_its_password() {
    let far = Far::new();
    let proxy = Proxy::start(Manner::Connects, far.api);
    let url = format!("http://reader:hunter2@{}", proxy.address);
    let ended =
        arrived(&far, &proxy, far.run(&["-vv", "run", "--json", "--summary", "s.json"], &[("HTTPS_PROXY", &url)]));
    let heard = proxy.heard();
    assert!(heard[0].starts_with(&format!("CONNECT {API}:{} HTTP/1.1\r\n", far.port)), "{heard:?}");
    assert!(heard[0].contains("roxy-authorization: Basic cmVhZGVyOmh1bnRlcjI=\r\n"), "{heard:?}");
    assert_eq!(ended.stderr.matches("requests go through a proxy").count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("proxy=\"http://{}\"", proxy.address)), "{}", ended.stderr);
    for secret in ["hunter2", "cmVhZGVyOmh1bnRlcjI="] {
        assert!(!ended.stdout.contains(secret) && !ended.stderr.contains(secret), "{}", ended.stderr);
        for (path, bytes) in far.site.everything() {
            assert!(!bytes.windows(secret.len()).any(|found| found == secret.as_bytes()), "{}", path.display());
        }
    }
}

#[test]
fn no_proxy_and_none_and_loopback_are_reached_directly() {
    let far = Far::new();
    let proxy = Proxy::start(Manner::Connects, far.api);
    let url = format!("http://{}", proxy.address);
    let direct = |variables: &[(&str, &str)]| {
        let ended = far.run(&["run", "--json"], variables).exits(1);
        assert!(proxy.heard().is_empty() && !ended.stderr.contains("through"), "{}", ended.stderr);
    };
    direct(&[("HTTPS_PROXY", &url), ("NO_PROXY", "10.0.0.0/8, .invalid")]);
    direct(&[("HTTP_PROXY", &url)]);
    far.configure(", proxy: none");
    direct(&[("HTTPS_PROXY", &url), ("ALL_PROXY", &url)]);
    // Plain HTTP on loopback, with a proxy that is not there.
    let site = Site::nightly(dialogue("alice|1|bob", 0..30));
    let nowhere = "http://127.0.0.1:9";
    let mut command = site.command(&["run", "--json"]);
    command.env("HTTP_PROXY", nowhere).env("http_proxy", nowhere).env("ALL_PROXY", nowhere).env_remove("NO_PROXY");
    let ended = crate::support::site::Running::start(&mut command).end().exits(0);
    assert!(!ended.stderr.contains("proxy"), "{}", ended.stderr);
}

#[test]
fn the_proxy_of_the_file_is_used_whatever_the_environment_says() {
    for (scheme, manner) in [("http", Manner::Connects), ("https", Manner::Connects), ("socks5h", Manner::Socks)] {
        let far = Far::new();
        let proxy = Proxy::start(manner, far.api);
        let mut at = proxy.address.to_string();
        if scheme == "https" {
            let (port, pem) = tls_before(proxy.address, "localhost");
            far.site.write("ca.pem", far.site.read("ca.pem") + &pem);
            at = format!("localhost:{port}");
        }
        far.configure(&format!(", proxy: '{scheme}://{at}'"));
        let environment = [("HTTPS_PROXY", "http://127.0.0.1:9"), ("NO_PROXY", "*")];
        arrived(&far, &proxy, far.run(&["run", "--json"], &environment));
        assert!(proxy.heard()[0].contains(API));
        // The same from a file, as a URL with a password has to be.
        far.site.write_secret("proxy", &format!("{scheme}://{at}\n"));
        far.configure(", proxy: 'file:proxy'");
        far.run(&["check", "--connect"], &environment).exits(0);
        assert!(proxy.heard().len() >= 2);
    }
}

#[test]
fn a_proxy_that_refuses_or_is_away_is_named() {
    let far = Far::new();
    for (manner, why) in [
        (Some(Manner::Refuses(407)), "needs a user and password"),
        (Some(Manner::Refuses(502)), "refuses to connect to the API"),
        (None, "Connection refused"),
    ] {
        let proxy = manner.map(|manner| Proxy::start(manner, far.api));
        let closed = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let at = proxy.as_ref().map_or_else(closed, |proxy| proxy.address);
        let ended = far.run(&["run", "--json"], &[("HTTPS_PROXY", &format!("http://me:hunter2@{at}"))]).exits(1);
        let error = ended.job()["error"].as_str().unwrap();
        assert!(error.contains(&format!("through the proxy http://{at}: ")) && error.contains(why), "{error}");
        assert_eq!(ended.refs("pending"), 30);
        assert!(!ended.stdout.contains("hunter2") && !ended.stderr.contains("hunter2"));
    }
    assert_eq!(far.site.api.stats().requests, 0);
}

#[test]
fn a_wrong_proxy_is_a_mistake_with_its_key_and_without_its_password() {
    let far = Far::new();
    for (proxy, why) in [
        ("http://me:hunter2@proxy.example:3128", "never stands in this file: write env:NAME or file:PATH"),
        ("ftp://proxy.example", "is no http://, https://, socks5:// or socks5h:// URL of a proxy"),
        ("http://proxy.example/path", "a proxy has no path"),
        ("env:NO_SUCH_VARIABLE_HERE", "the environment variable NO_SUCH_VARIABLE_HERE is not set"),
    ] {
        far.configure(&format!(", proxy: '{proxy}'"));
        let ended = far.run(&["run"], &[]).exits(2);
        assert!(ended.stderr.contains("apps.main.proxy") && ended.stderr.contains(why), "{}", ended.stderr);
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    }
    far.configure("");
    let ended = far.run(&["run"], &[("HTTPS_PROXY", "gopher://me:hunter2@proxy.example")]).exits(2);
    for part in ["apps.main.proxy", "HTTPS_PROXY", "proxy: none ignores it"] {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("hunter2"));
    // What sends nothing needs no proxy.
    far.run(&["plan"], &[("HTTPS_PROXY", "gopher://me:hunter2@proxy.example")]).exits(0);
}
