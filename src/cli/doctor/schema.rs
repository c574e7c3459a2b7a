//! The subset of JSON Schema (2020-12) that `docs/doctor.schema.json` uses, for tests.

use serde_json::Value;

/// Differences between a value and its schema.
pub(super) fn faults(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        other => panic!("unsupported type {other}"),
    };
    if schema["type"].as_str().is_some_and(|kind| !is(kind)) {
        faults.push(format!("{at} is not of type {}", schema["type"]));
    }
    if schema["enum"].as_array().is_some_and(|all| !all.contains(value)) {
        faults.push(format!("{at} is none of {}", schema["enum"]));
    }
    if let Some(object) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                faults.push(format!("{at} has no {name}"));
            }
        }
        for (name, value) in object {
            match schema["properties"].get(name) {
                Some(schema) => faults.extend(self::faults(schema, value, &format!("{at}.{name}"))),
                None => faults.push(format!("{at} has a {name} that the schema does not know")),
            }
        }
    }
    for (index, value) in value.as_array().into_iter().flatten().enumerate() {
        faults.extend(self::faults(&schema["items"], value, &format!("{at}[{index}]")));
    }
    faults
}

/// The schema of `canhub doctor --json`.
pub(super) fn of_doctor() -> Value {
    serde_json::from_str(include_str!("../../../docs/doctor.schema.json")).unwrap()
}
