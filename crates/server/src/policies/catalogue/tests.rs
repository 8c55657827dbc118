use super::*;
use proptest::prelude::*;
use serde_json::json;

fn settings(value: Value) -> Settings {
    value.as_object().cloned().unwrap()
}

#[test]
fn the_catalogue_and_the_agents_config_are_the_same_list_with_fitting_defaults() {
    let defaults = defaults();
    let names: Vec<_> = FIELDS.iter().map(|field| field.name.to_owned()).collect();
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(sorted, defaults.keys().cloned().collect::<Vec<_>>());
    assert_eq!(complaints(&defaults), Vec::new());
    let told = serde_json::to_value(AgentConfig::default()).unwrap();
    for field in FIELDS {
        assert_eq!(told.get(field.name).is_some(), field.of == Of::Agent, "{}", field.name);
    }
    assert_eq!(agent_config(&merge::<()>([])), AgentConfig::default());
}

#[test]
fn what_does_not_fit_is_named() {
    let input = settings(json!({
        "metrics_interval_seconds": 5, "process_list": "yes", "output_limit_bytes": 1.5, "nonsense": 1,
        "public_ip": null, "network_state": false,
    }));
    let mut found: Vec<_> =
        complaints(&input).into_iter().map(|error| (error.field.into_owned(), error.code)).collect();
    found.sort();
    let expected = [
        ("settings.metrics_interval_seconds", "OUT_OF_RANGE"),
        ("settings.nonsense", "INVALID"),
        ("settings.output_limit_bytes", "INVALID"),
        ("settings.process_list", "INVALID"),
    ];
    assert_eq!(found, expected.map(|(field, code)| (field.to_owned(), code)));
}

#[test]
fn the_most_specific_layer_wins_field_by_field() {
    let partner = settings(json!({ "metrics_interval_seconds": 30, "public_ip": true }));
    let agent = settings(json!({ "metrics_interval_seconds": 10 }));
    let merged = merge([("partner", &partner), ("agent", &agent)]);
    let of = |name| merged.iter().find(|value| value.field.name == name).unwrap();
    assert_eq!(
        (&of("metrics_interval_seconds").value, of("metrics_interval_seconds").source),
        (&json!(10), Some("agent"))
    );
    assert_eq!((&of("public_ip").value, of("public_ip").source), (&json!(true), Some("partner")));
    assert_eq!((&of("process_list").value, of("process_list").source), (&json!(true), None));
    let config = agent_config(&merged);
    assert!(config.metrics_interval_seconds == 10 && config.public_ip);
}

fn any_value(kind: Kind) -> BoxedStrategy<Option<Value>> {
    let fitting = match kind {
        Kind::Bool => any::<bool>().prop_map(|value| json!(value)).boxed(),
        Kind::Integer { min, max } => (min..=max).prop_map(|value| json!(value)).boxed(),
        Kind::Choice { options } => proptest::sample::select(options).prop_map(|word| json!(word)).boxed(),
        Kind::Choices { options } => {
            proptest::sample::subsequence(options, 0..=options.len()).prop_map(|words| json!(words)).boxed()
        }
        Kind::Paths => proptest::collection::vec(Just("/srv"), 0..3).prop_map(|paths| json!(paths)).boxed(),
        Kind::Addresses => Just(json!(["*:22"])).boxed(),
        Kind::MaintenanceWindow => (0..24_u32)
            .prop_map(|hour| json!({ "days": ["sat"], "from": format!("{hour:02}:00"), "to": "12:30" }))
            .boxed(),
    };
    let broken = prop_oneof![Just(Value::Null), Just(json!("text")), Just(json!(-1)), Just(json!([]))];
    prop_oneof![Just(None), fitting.prop_map(Some), broken.prop_map(Some)].boxed()
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let values: Vec<_> = FIELDS.iter().map(|field| any_value(field.kind)).collect();
    values.prop_map(|values| {
        let said =
            FIELDS.iter().zip(values).filter_map(|(field, value)| Some((field.name.to_owned(), value?)));
        said.collect()
    })
}

proptest! {
    /// Against the plainest way to say it: walk up from the most specific layer until one says something valid.
    #[test]
    fn merging_is_asking_the_layers_from_the_bottom_up(layers in proptest::collection::vec(any_settings(), 0..6)) {
        let merged = merge(layers.iter().enumerate());
        prop_assert_eq!(merged.len(), FIELDS.len());
        for effective in &merged {
            let single = |settings: &Settings| {
                let value = settings.get(effective.field.name).filter(|value| !value.is_null())?;
                let alone = Settings::from_iter([(effective.field.name.to_owned(), value.clone())]);
                complaints(&alone).is_empty().then(|| value.clone())
            };
            let expected = layers.iter().enumerate().rev().find_map(|(index, layer)| Some((index, single(layer)?)));
            match expected {
                Some((index, value)) => {
                    prop_assert_eq!(effective.source, Some(index));
                    prop_assert_eq!(&effective.value, &value);
                }
                None => {
                    prop_assert_eq!(effective.source, None);
                    prop_assert_eq!(&effective.value, &defaults()[effective.field.name]);
                }
            }
        }
        // Whatever was said, an agent gets a whole and valid config.
        let told = serde_json::to_value(agent_config(&merged)).unwrap();
        for effective in merged.iter().filter(|value| value.field.of == Of::Agent) {
            prop_assert_eq!(&told[effective.field.name], &effective.value);
        }
    }
}
