//! What a bucket does by itself to the objects and uploads of an archive, where the store tells.

use object_store::RetryConfig;
use object_store::aws::{AmazonS3ConfigKey, AwsAuthorizer};
use object_store::client::{HttpRequest, HttpRequestBody, HttpService as _};
use serde::Deserialize;

use super::connect::{ObjectSettings, Provider, client, s3};
use crate::storage::Lifecycle;

/// Classes whose objects cannot be read before somebody brings them back.
const FROZEN: [&str; 4] = ["GLACIER", "DEEP_ARCHIVE", "ARCHIVE", "COLD_ARCHIVE"];

/// Asks the store for the bucket's rules.
pub(super) async fn ask(settings: &ObjectSettings) -> Lifecycle {
    if settings.provider != Provider::S3 {
        return Lifecycle::Unknown(format!("a bucket of {}:// is not asked", settings.provider.scheme()));
    }
    match rules(settings).await {
        Ok(rules) => found(&rules.rules, &settings.prefix),
        Err(why) => Lifecycle::Unknown(why),
    }
}

async fn rules(settings: &ObjectSettings) -> Result<Configuration, String> {
    let unusable = |_| "the store's client cannot be set up".to_owned();
    let http = client(settings).map_err(|_| "the store's client cannot be set up".to_owned())?;
    let patience = RetryConfig { retry_timeout: settings.patience, ..RetryConfig::default() };
    let builder = s3(settings, http.clone()).map_err(unusable)?.with_retry(patience);
    let region = builder.get_config_value(&AmazonS3ConfigKey::Region).unwrap_or_else(|| "us-east-1".to_owned());
    let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
    let endpoint = endpoint.iter().find_map(|key| builder.get_config_value(key));
    let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
    let bucket = if settings.virtual_hosted { String::new() } else { format!("/{}", settings.bucket) };
    let store = builder.build().map_err(unusable)?;
    let credential = store.credentials().get_credential().await.map_err(|_| "there are no credentials".to_owned())?;
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    let url = format!("{}{bucket}/?lifecycle=", endpoint.trim_end_matches('/'));
    *request.uri_mut() = url.parse().map_err(|_| "the endpoint is no URL".to_owned())?;
    AwsAuthorizer::new(&credential, "s3", &region).try_authorize(&mut request, None).map_err(unusable)?;
    let answer = http.call(request).await.map_err(|_| "the store does not answer".to_owned())?;
    let (head, body) = answer.into_parts();
    let body = body.bytes().await.map_err(|_| "the store's answer broke off".to_owned())?;
    let text = String::from_utf8_lossy(&body);
    match head.status.as_u16() {
        200 => quick_xml::de::from_str(&text).map_err(|_| "the store answers something else than rules".to_owned()),
        404 if text.contains("NoSuchLifecycleConfiguration") => Ok(Configuration::default()),
        403 => Err("the credentials may not read them (`s3:GetLifecycleConfiguration`)".to_owned()),
        status => Err(format!("the store answers with status {status}")),
    }
}

/// What the rules mean for what is below a prefix.
fn found(rules: &[Rule], prefix: &str) -> Lifecycle {
    let (mut ends_uploads, mut harmful) = (false, Vec::new());
    // What the program writes has no tags, so no rule for tags meets it.
    for rule in rules.iter().filter(|rule| rule.status == "Enabled" && !rule.filter.has_tags()) {
        let of = rule.filter.prefix(rule.prefix.as_deref());
        let archive = format!("{prefix}/");
        let covers = archive.starts_with(of);
        ends_uploads |= covers && rule.abort_uploads.is_some();
        // One for a part of the archive, or for what vanished beside it, does as much harm.
        if !covers && !of.starts_with(prefix) {
            continue;
        }
        let name = if rule.id.is_empty() { "without a name" } else { rule.id.as_str() };
        if rule.expiration.as_ref().is_some_and(|expiration| expiration.days.is_some() || expiration.date.is_some()) {
            harmful.push(format!("rule {name} removes objects"));
        }
        let frozen = rule.transitions.iter().find(|transition| FROZEN.contains(&transition.class.as_str()));
        harmful.extend(frozen.map(|frozen| format!("rule {name} moves objects to {}", frozen.class)));
    }
    Lifecycle::Known { ends_uploads, harmful }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Configuration {
    #[serde(rename = "Rule")]
    rules: Vec<Rule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Rule {
    #[serde(rename = "ID")]
    id: String,
    status: String,
    prefix: Option<String>,
    filter: Filter,
    expiration: Option<Expiration>,
    #[serde(rename = "Transition")]
    transitions: Vec<Transition>,
    #[serde(rename = "AbortIncompleteMultipartUpload")]
    abort_uploads: Option<Days>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Filter {
    prefix: Option<String>,
    tag: Option<Tag>,
    and: Option<Both>,
}

impl Filter {
    fn has_tags(&self) -> bool {
        self.tag.is_some() || self.and.as_ref().is_some_and(|both| !both.tags.is_empty())
    }

    /// What keys begin with that the rule is for, whichever way that is written.
    fn prefix<'a>(&'a self, older: Option<&'a str>) -> &'a str {
        let both = self.and.as_ref().and_then(|both| both.prefix.as_deref());
        self.prefix.as_deref().or(both).or(older).unwrap_or_default()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Both {
    prefix: Option<String>,
    #[serde(rename = "Tag")]
    tags: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
struct Tag {}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Expiration {
    days: Option<String>,
    date: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Days {}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Transition {
    #[serde(rename = "StorageClass")]
    class: String,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(rules: &str) -> Lifecycle {
        let text = format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>");
        found(&quick_xml::de::from_str::<Configuration>(&text).unwrap().rules, "nightly/archive")
    }

    fn known(ends_uploads: bool, harmful: &[&str]) -> Lifecycle {
        Lifecycle::Known { ends_uploads, harmful: harmful.iter().map(|text| (*text).to_owned()).collect() }
    }

    #[test]
    fn rules_are_told_that_end_uploads_remove_objects_or_freeze_them() {
        let rule = |rest: &str| format!("<Rule><ID>r</ID><Status>Enabled</Status>{rest}</Rule>");
        let everywhere = "<Filter><Prefix></Prefix></Filter>";
        let abort = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>14</DaysAfterInitiation></AbortIncompleteMultipartUpload>";
        assert_eq!(of(""), known(false, &[]));
        assert_eq!(of(&rule(&format!("{everywhere}{abort}"))), known(true, &[]));
        assert_eq!(of(&rule(&format!("<Filter><Prefix>nightly/</Prefix></Filter>{abort}"))), known(true, &[]));
        assert_eq!(of(&rule(&format!("<Filter><Prefix>other/</Prefix></Filter>{abort}"))), known(false, &[]));
        assert_eq!(of(&rule(&format!("{everywhere}{abort}")).replace("Enabled", "Disabled")), known(false, &[]));
        let expires = "<Expiration><Days>30</Days></Expiration>";
        for place in
            [everywhere, "<Prefix>nightly/</Prefix>", "<Filter><Prefix>nightly/archive/date=</Prefix></Filter>"]
        {
            assert_eq!(of(&rule(&format!("{place}{expires}"))), known(false, &["rule r removes objects"]), "{place}");
        }
        for place in [
            "<Filter><Prefix>night</Prefix><Tag><Key>a</Key><Value>b</Value></Tag></Filter>",
            "<Filter><And><Prefix>night</Prefix><Tag><Key>a</Key><Value>b</Value></Tag></And></Filter>",
            "<Filter><Prefix>other</Prefix></Filter>",
        ] {
            assert_eq!(of(&rule(&format!("{place}{expires}"))), known(false, &[]), "{place}");
        }
        let marker = "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>";
        assert_eq!(of(&rule(&format!("{everywhere}{marker}"))), known(false, &[]));
        let moves = |class: &str| {
            rule(&format!("{everywhere}<Transition><Days>9</Days><StorageClass>{class}</StorageClass></Transition>"))
        };
        assert_eq!(of(&moves("STANDARD_IA")), known(false, &[]));
        assert_eq!(of(&(moves("STANDARD_IA") + &moves("GLACIER"))), known(false, &["rule r moves objects to GLACIER"]));
    }
}
