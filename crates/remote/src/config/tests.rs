use super::*;

fn parse(json: &str) -> Result<RemoteWrite, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

#[test]
fn defaults_are_prometheus_own() {
    let config = parse(r#"{"url": "http://h/x"}"#).unwrap();
    assert_eq!(config.queue_config, QueueConfig::default());
    assert_eq!(config.remote_timeout, Duration::from_secs(30));
    assert_eq!((config.protobuf_message, config.start_at), (None, StartAt::Now));
}

#[test]
fn keys_are_read() {
    let config = parse(
        r#"{"url": "http://h/x", "name": "a", "remote_timeout": "1m30s", "protobuf_message":
            "io.prometheus.write.v2.Request", "headers": {"X-Scope-OrgID": "1"}, "start_at": "oldest",
            "narrow": "never", "retry_on_http_4xx": false, "put_aside": false, "catch_up": "newest_first", "out_of_order_window": "1h", "queue_config": {"capacity": 7, "min_backoff": "1s"}}"#,
    )
    .unwrap();
    assert_eq!(config.remote_timeout, Duration::from_secs(90));
    assert_eq!(config.protobuf_message, Some(Message::V2));
    assert_eq!((config.start_at, config.narrow), (StartAt::Oldest, Narrowing::Never));
    assert!(!config.retry_on_http_4xx && !config.put_aside);
    assert_eq!((config.queue_config.capacity, config.queue_config.max_shards), (7, 50));
    let hour = Duration::from_secs(3600);
    assert_eq!((config.catch_up, config.out_of_order_window), (CatchUp::NewestFirst, hour));
    assert!(!format!("{config:?}").contains("\"1\""), "headers may be secrets");
}

#[test]
fn unknown_keys_and_values_are_errors_that_name_them() {
    for (section, key) in [("azuread", "certificate"), ("google_iam", "scope")] {
        let text = format!(r#"{{"url": "http://h/x", "{section}": {{"{key}": "y"}}}}"#);
        let error = parse(&text).unwrap_err();
        assert!(error.contains(&format!("unknown field `{key}`")), "{error}");
    }
    let cloud = r#"{"url": "http://h/x", "azuread": {"cloud": "AzureMoon"}}"#;
    let error = parse(cloud).unwrap_err();
    assert!(error.contains("unknown variant `AzureMoon`") && error.contains("AzureChina"), "{error}");
    let error = parse(r#"{"url": "http://h/x", "colour": 1}"#).unwrap_err();
    assert!(error.contains("unknown field `colour`"), "{error}");
    let error = parse(r#"{"url": "http://h/x", "remote_timeout": "soon"}"#).unwrap_err();
    assert!(error.contains("\"soon\" is not a duration"), "{error}");
}
