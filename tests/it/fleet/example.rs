//! `examples/fleet.sh`, as it stands there.

use std::path::Path;
use std::process::Command;

#[test]
fn the_example_archives_everything_with_three_workers_of_which_one_is_killed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = |path: &str, name: &str| {
        let own = root.join(path);
        if own.is_file() { own.display().to_string() } else { name.to_owned() }
    };
    let output = Command::new(root.join("examples/fleet.sh"))
        .env("REFERENCES", std::env::var("REFERENCES").unwrap_or_else(|_| "4000".to_owned()))
        .env("BINARY", env!("CARGO_BIN_EXE_yunxin-archiver"))
        .env("NATS_SERVER", program("target/nats/bin/nats-server", "nats-server"))
        .env("MINISTACK", program("target/stores/bin/ministack", "ministack"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for line in [
        "in the middle a worker is killed",
        "fleet ",
        "\"pending\":0",
        "batches redelivered",
        "nothing to ask",
        " 0 answered with 416",
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    println!("{said}");
}
