//! The certificate of completeness.

use super::*;

fn page(site: &Site, options: &[&str], code: i32) -> (String, Ended) {
    let ended =
        site.run(&[&["verify", "nightly", "--against", "nightly", "-o", "page.html"], options].concat()).exits(code);
    (site.read("page.html"), ended)
}

#[test]
fn the_certificate_is_self_contained_and_no_name_is_markup() {
    let hostile = "<script>alert(1)</script>\u{202e}&amp;\"'";
    let (mut refs, world) = world();
    let site = Site::nightly((refs.clone(), world));
    site.night().exits(3);
    refs.push((format!("{hostile}|1|bob"), id(500), time(1)));
    site.write("refs.jsonl", jsonl(&refs) + "{\"conversation_id\":\"<b>x</b>\"}\n");
    site.jobs(&NIGHTLY.replace("csv: { path: refs.csv }", "jsonl: { path: refs.jsonl }"));
    let (html, _) =
        page(&site, &["--operator", "<i>Jo</i>", "--purpose", "</style><b>audit</b>", "--absent", "a<b>.jsonl"], 1);
    is_self_contained(&html);
    assert!(
        !html.contains("<script")
            && !html.contains("<b>audit")
            && !html.contains("<i>Jo")
            && !html.contains('\u{202e}')
    );
    let read = Read::of(&html);
    assert_eq!(read.badge(), "incomplete");
    let text = read.text();
    for said in [
        "One of the 21 messages that the references name is absent",
        "<script>alert(1)</script>[U+202E]&amp;\"'|1|bob",
        "<i>Jo</i>",
        "</style><b>audit</b>",
        "a<b>.jsonl",
        "unavailable",
        "2026-10-03",
        "place",
        "signature",
        "messages, including replies, that no reference names",
        "the files that messages attach",
        "22 = 21 + 0 + 0 + 1 + 0",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let manifest = site
        .files("archive/_manifests")
        .into_iter()
        .rfind(|path| path.extension().is_some_and(|e| e == "json"))
        .unwrap();
    let sha256 = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(std::fs::read(manifest).unwrap()));
    assert!(text.contains(&sha256), "the last manifest's hash");
    let tiles = read.list("tiles");
    for (tile, number) in tiles.iter().zip([
        "referenced21",
        "archived17",
        "failed3",
        "dismissed0",
        "pending0",
        "absent1",
        "invalid rows1",
    ]) {
        assert!(tile.starts_with(number), "{tile}");
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&site.path("page.html").metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_certificate_lists_what_has_room_and_points_to_the_rest() {
    let (refs, world) = sane();
    let site = Site::nightly((refs.clone(), world));
    site.night().exits(0);
    let (html, _) = page(&site, &[], 0);
    is_self_contained(&html);
    assert_eq!(Read::of(&html).badge(), "complete");
    let many: Vec<Ref> = (1_000..1_250).map(|n| reference(&format!("owner{n}|1|x"), n)).collect();
    site.write("refs.csv", csv(&[refs, many].concat()));
    let (html, ended) = page(&site, &["--absent", "absent.jsonl"], 1);
    is_self_contained(&html);
    let read = Read::of(&html);
    for said in ["The first 100 of 250, in order of ID", "All of them are in absent.jsonl", "151 more accounts"] {
        assert!(read.text().contains(said), "{said}");
    }
    assert!(
        ended.stdout.contains("… and 230 more") && ended.stdout.contains("… and 220 more accounts"),
        "{}",
        ended.stdout
    );
    assert_eq!(site.read("absent.jsonl").lines().count(), 250);
    let printed = site.run(&["verify", "nightly", "--against", "nightly", "-o", "-"]).exits(1).stdout;
    is_self_contained(&printed);
    site.run(&["verify", "nightly", "--against", "nightly", "-o", "-", "--json"]).exits(2);
    site.write("refs.csv", "conversation_id,message_server_id,create_time\n");
    let (html, _) = page(&site, &[], 0);
    is_self_contained(&html);
    assert_eq!(Read::of(&html).badge(), "nothing referenced");
}
