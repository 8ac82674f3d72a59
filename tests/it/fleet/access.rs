//! NATS with TLS, and users by credentials files that may do what docs/fleet.md names and nothing else.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Nats, Workers, is_whole, run, site};

/// A token as the tools of NATS make it: that `issuer` says so of `subject`.
fn token(issuer: &KeyPair, subject: &KeyPair, name: &str, nats: &Value) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let head = encode(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let claims = json!({
        "jti": name, "iat": 1_790_000_000, "iss": issuer.public_key(), "sub": subject.public_key(), "name": name, "nats": nats
    });
    let signed = format!("{head}.{}", encode(&claims));
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

/// What a server of an operator is started with, and how a user of its one account is made.
struct Operator {
    directory: TempDir,
    account: KeyPair,
    certificate: String,
}

impl Operator {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // The server runs as somebody else.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (operator, system, account) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
            "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1
        });
        let of_system =
            json!({ "limits": { "subs": -1, "conn": -1, "data": -1, "payload": -1 }, "type": "account", "version": 2 });
        let tokens = [
            token(&operator, &operator, "operator", &json!({ "type": "operator", "version": 2 })),
            token(&operator, &system, "SYS", &of_system),
            token(&operator, &account, "fleet", &json!({ "limits": limits, "type": "account", "version": 2 })),
        ];
        let path = |name: &str| directory.path().join(name).display().to_string();
        let mut config =
            format!("operator: {}\nsystem_account: {}\nresolver: MEMORY\n", tokens[0], system.public_key());
        writeln!(config, "resolver_preload: {{").unwrap();
        writeln!(config, "  {}: {}\n  {}: {}\n}}", system.public_key(), tokens[1], account.public_key(), tokens[2])
            .unwrap();
        writeln!(config, "tls {{ cert_file: \"{}\", key_file: \"{}\" }}", path("cert.pem"), path("key.pem")).unwrap();
        std::fs::write(path("nats.conf"), config).unwrap();
        std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
        Self { directory, account, certificate: made.cert.pem() }
    }

    fn serve(&self) -> Nats {
        Nats::with(format!("-c {}", self.directory.path().join("nats.conf").display()))
    }

    /// A credentials file of a user who may publish and subscribe to these.
    fn user(&self, publish: &[&str], subscribe: &[&str]) -> String {
        let user = KeyPair::new_user();
        let rights = json!({
            "pub": { "allow": publish }, "sub": { "allow": subscribe }, "subs": -1, "data": -1, "payload": -1,
            "type": "user", "version": 2
        });
        format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            token(&self.account, &user, "user", &rights),
            user.seed().unwrap()
        )
    }
}

#[test]
fn a_fleet_works_with_tls_and_a_credentials_file_and_needs_no_more_rights_than_the_documentation_names() {
    let operator = Operator::new();
    let nats = operator.serve();
    let (mut site, bucket) = site(&nats, 0);
    let address = nats.address().replace("127.0.0.1", "localhost");
    site.app = format!(
        "rate_limit: 200\nfleet: {{ nats: \"tls://{address}\", credentials: file:nats.creds, ca_file: nats.pem }}"
    );
    let documentation = include_str!("../../../docs/fleet.md");
    let publish = ["yunxin.>", "$JS.API.>", "$JS.ACK.>", "_INBOX.>"];
    let subscribe = ["yunxin.>", "_INBOX.>"];
    for right in publish.iter().chain(&subscribe) {
        let named = format!("`{}`", right.replace("yunxin", "<prefix>"));
        assert!(documentation.contains(&named), "{named}");
    }
    site.write_secret("nats.creds", &operator.user(&publish, &subscribe));
    site.write_secret("nats.pem", &operator.certificate);
    site.night(240);
    let mut workers = Workers::start(&site, 2);
    run(&site).exits(0);
    is_whole(&site, &bucket);
    workers.stops(0);

    // A user of another account, no credentials at all, a user without the right to make the queue, and a wrong authority.
    let refused = |site: &super::Site, code: i32| {
        let ran = site.run(&["check", "--connect"]).exits(code);
        ran.stdout + &ran.stderr
    };
    let stranger = Operator { account: KeyPair::new_account(), ..Operator::new() };
    site.write_secret("nats.creds", &stranger.user(&publish, &subscribe));
    let said = refused(&site, 4);
    assert!(said.contains("NATS refuses the credentials") && !said.contains("SEED") && !said.contains("eyJ"), "{said}");
    site.write_secret("nats.creds", "no credentials, hunter2");
    let said = refused(&site, 2);
    assert!(said.contains("is no credentials file of NATS") && !said.contains("hunter2"), "{said}");
    site.app = site.app.replace("ca_file: nats.pem", "ca_file: nats.pem, prefix: other");
    site.configure();
    site.write_secret("nats.creds", &operator.user(&["other.>", "$JS.ACK.>"], &["other.>", "_INBOX.>"]));
    let said = refused(&site, 1);
    assert!(said.contains("nats stream add other_nightly"), "{said}");
    site.write_secret("nats.pem", &Operator::new().certificate);
    assert!(refused(&site, 1).contains("connecting to NATS"));
}
