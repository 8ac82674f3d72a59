//! In a real browser: search, links, keyboard, phone, dark, print; and nothing leaves.

use serde_json::json;

use crate::support::browser::Browser;
use crate::support::past::Past;

/// How many rows of failures are shown.
const ROWS: &str =
    "Array.from(document.querySelectorAll('#list tbody tr')).filter(row => row.checkVisibility()).length";

#[tokio::test]
async fn search_finds_a_failure_and_its_link_leads_to_the_night() {
    let past = Past::of(40).await;
    past.pages();
    let all = past.ledger.latest_failures(5_000, None).await.unwrap();
    let sought = all.iter().find(|failure| failure.code == Some(403)).unwrap();
    let id = sought.message_server_id.unwrap().to_string();
    let mut browser = Browser::start();
    browser.size(1_280, 900);
    browser.open(&past.path("pages/failures.html"), "");
    assert_eq!(browser.eval(ROWS), all.len());
    browser.eval("document.getElementById('words').focus()");
    browser.write(&id);
    assert_eq!(browser.eval(ROWS), 1);
    assert_eq!(browser.eval("document.getElementById('shown').textContent"), format!("1 of {} failures", all.len()));
    // Words in any order and case; then a kind that it is not of.
    browser.eval("document.getElementById('words').select()");
    browser.write(&format!("NO Permission {id}"));
    assert_eq!(browser.eval(ROWS), 1);
    let choose = |id: &str, value: &str| {
        format!(
            "{{ const field = document.getElementById('{id}'); field.value = '{value}'; field.dispatchEvent(new Event('input')); }}"
        )
    };
    browser.eval(&choose("kind", "unavailable 107404"));
    assert_eq!(browser.eval(ROWS), 0);
    assert_eq!(browser.eval("document.getElementById('shown').textContent"), "No failure matches.");
    browser.eval(&choose("kind", "refused 403"));
    assert_eq!(browser.eval(ROWS), 1);
    browser.eval(&choose("state", "resolved"));
    assert_eq!(browser.eval(ROWS), 0);
    browser.eval(&choose("state", "open"));

    // The link leads to the night, and from there to the history.
    let night = browser.eval("Array.from(document.querySelectorAll('#list tbody tr')).find(row => row.checkVisibility()).querySelector('a').href");
    assert!(night.as_str().unwrap().ends_with(&format!("pages/runs/{}.html", sought.run_id)), "{night}");
    browser.follow("#list tbody tr:not([hidden]) a");
    assert!(browser.eval("document.title").as_str().unwrap().starts_with("nightly: run of "));
    browser.follow("nav a");
    assert_eq!(browser.eval("document.title"), "nightly: history");

    // A kind in the index leads to its open failures; a day of the calendar to its night.
    let open = all.iter().filter(|failure| failure.code == Some(403)).count();
    browser.follow("#failures a[href*='refused']");
    assert_eq!(browser.eval(ROWS), open);
    browser.open(&past.path("pages/index.html"), "");
    browser.follow(".month a");
    assert!(browser.eval("document.title").as_str().unwrap().starts_with("nightly: run of "));

    // Without scripts there is the plain table, and no field that does nothing.
    browser.scripts(false);
    browser.open(&past.path("pages/failures.html"), "");
    browser.scripts(true);
    assert_eq!(browser.eval(ROWS), all.len());
    assert_eq!(browser.eval("document.getElementById('search').checkVisibility()"), false);
    browser.is_quiet();
}

#[tokio::test]
async fn every_page_fits_a_phone_is_dark_at_night_and_can_be_read_without_eyes() {
    let past = Past::of(60).await;
    past.pages();
    past.go(&["report", "--all", "-o", "every"]);
    let night = past.ledger.runs(40).await.unwrap()[39].run_id;
    let mut browser = Browser::start();
    let pages = ["pages/index.html", "pages/failures.html", &format!("pages/runs/{night}.html"), "every/index.html"];
    for page in pages {
        browser.size(390, 844);
        let mut grounds = Vec::new();
        for scheme in ["light", "dark"] {
            browser.media(scheme, "screen");
            browser.open(&past.path(page), "");
            let wide = "document.scrollingElement.scrollWidth - innerWidth";
            assert!(browser.eval(wide).as_i64().unwrap() <= 0, "{page} is wider than a phone");
            grounds.push(browser.eval("getComputedStyle(document.body).backgroundColor"));
            assert_eq!(browser.eval(CONTRAST), json!([]), "{page}, {scheme}");
        }
        assert_ne!(grounds[0], grounds[1], "{page}");
        assert_eq!(browser.eval(NAMELESS), json!([]), "{page}");
        browser.size(1_280, 900);
        assert_eq!(browser.eval("document.scrollingElement.scrollWidth <= innerWidth"), true, "{page}");
        // On paper there is nothing to type into, and nothing is folded.
        browser.media("light", "print");
        assert_eq!(
            browser.eval("Array.from(document.querySelectorAll('input, nav')).some(e => e.checkVisibility())"),
            false
        );
        browser.media("light", "screen");
    }
    // By keyboard: the first link has the focus and a ring, Enter follows it.
    browser.open(&past.path("pages/index.html"), "");
    browser.press("Tab", 9);
    assert_eq!(browser.eval("document.activeElement.textContent"), "Failures");
    assert_ne!(browser.eval("getComputedStyle(document.activeElement).outlineStyle"), "none");
    browser.press("Enter", 13);
    browser.loaded();
    assert_eq!(browser.eval("document.title"), "nightly: failures");
    browser.is_quiet();
}

#[test]
fn of_thousands_of_failures_the_first_are_shown_until_all_are_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("failures.html");
    std::fs::write(&page, super::writing::history(1, 2_000).failures()).unwrap();
    let mut browser = Browser::start();
    browser.open(&page, "");
    assert_eq!(browser.eval(ROWS), 500);
    let said = "document.getElementById('shown').textContent";
    assert_eq!(browser.eval(said), "2000 of 2000 failures, the first 500 shown");
    browser.eval("document.getElementById('more').click()");
    assert_eq!(browser.eval(ROWS), 2_000);
    assert_eq!(browser.eval("document.getElementById('more').checkVisibility()"), false);
    browser.is_quiet();
}

#[tokio::test]
async fn pages_that_are_no_longer_written_say_so() {
    let past = Past::of(2).await;
    past.pages();
    let index = past.path("pages/index.html");
    let mut browser = Browser::start();
    let stale = "document.getElementById('stale').checkVisibility()";
    browser.open(&index, "");
    assert_eq!(browser.eval(stale), false);
    let html = std::fs::read_to_string(&index).unwrap();
    let at = html.find("<time class=\"made\" datetime=\"").unwrap() + "<time class=\"made\" datetime=\"".len();
    std::fs::write(&index, format!("{}2026-01-02{}", &html[..at], &html[at + 10..])).unwrap();
    assert!(html.contains(" data-days=\"2\""), "a job of every night");
    browser.open(&index, "");
    assert_eq!(browser.eval(stale), true);
    let text = browser.eval("document.getElementById('stale').textContent");
    assert!(text.as_str().unwrap().contains(" days ago. Look whether the job still runs"), "{text}");
    browser.is_quiet();
}

/// Draws the pictures of the documentation if `YUNXIN_ARCHIVER_PICTURES` names their directory.
#[tokio::test]
async fn pictures_of_the_history_are_small() {
    let past = Past::of(400).await;
    past.pages();
    let mut browser = Browser::start();
    for (name, page, size, scheme, words) in [
        ("history.png", "index", (1_060, 1_150), "light", ""),
        ("history-phone.png", "failures", (390, 844), "dark", "mei.lin0 refused"),
    ] {
        browser.size(size.0, size.1);
        browser.media(scheme, "screen");
        browser.open(&past.path(&format!("pages/{page}.html")), "");
        if !words.is_empty() {
            browser.eval("document.getElementById('words').focus()");
            browser.write(words);
        }
        let picture = browser.picture();
        assert!(picture.len() < 150_000, "{name}: {}", picture.len());
        if let Some(images) = std::env::var_os("YUNXIN_ARCHIVER_PICTURES") {
            std::fs::write(std::path::Path::new(&images).join(name), picture).unwrap();
        }
    }
    browser.is_quiet();
}

/// What a screen reader could not name, or would not find.
const NAMELESS: &str = r"(() => {
  const found = [];
  const text = e => (e.getAttribute('aria-label') || e.textContent).trim();
  for (const e of document.querySelectorAll('a, h1, h2, caption, th[scope=col], option, summary, label'))
    if (!text(e)) found.push(e.outerHTML);
  for (const e of document.querySelectorAll('table'))
    if (!e.caption || !e.tHead) found.push('a table without a caption or header');
  for (const e of document.querySelectorAll('svg'))
    if (!e.closest('[aria-hidden=true]') && !(e.getAttribute('role') === 'img' && e.getAttribute('aria-label')))
      found.push(e.outerHTML.slice(0, 80));
  for (const e of document.querySelectorAll('input, select')) if (!e.labels.length) found.push(e.id);
  for (const e of document.querySelectorAll('section')) if (!e.getAttribute('aria-label') && !document.getElementById(e.getAttribute('aria-labelledby'))) found.push(e.id);
  for (const e of document.querySelectorAll('.mark'))
    if (!text(e.closest('td, li'))) found.push('a mark without words');
  const ids = Array.from(document.querySelectorAll('[id]'), e => e.id);
  if (new Set(ids).size !== ids.length) found.push('an ID twice');
  for (const name of ['main', 'h1']) if (document.querySelectorAll(name).length !== 1) found.push(name);
  if (document.documentElement.lang !== 'en') found.push('no language');
  return found;
})()";

/// Texts with less contrast to what is behind them than WCAG's 4.5.
const CONTRAST: &str = r"(() => {
  const parse = text => text.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const over = (top, alpha, ground) => top.slice(0, 3).map((c, i) => c * alpha + ground[i] * (1 - alpha));
  const ground = e => {
    const [r, g, b, a = 1] = parse(getComputedStyle(e).backgroundColor);
    return a === 1 ? [r, g, b] : e.parentElement ? over([r, g, b], a, ground(e.parentElement)) : [255, 255, 255];
  };
  const opacity = e => e ? Number(getComputedStyle(e).opacity) * opacity(e.parentElement) : 1;
  const found = new Set();
  const texts = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    const e = text.parentElement;
    if (!text.data.trim() || !e.checkVisibility() || e.closest('svg, .unseen')) continue;
    const behind = ground(e);
    const [one, other] = [light(over(parse(getComputedStyle(e).color), opacity(e), behind)), light(behind)];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) found.add(`${e.className || e.tagName}: ${ratio.toFixed(2)}`);
  }
  return Array.from(found);
})()";
