//! JSON Schema as `docs/openapi.json` uses it, but stricter: an undescribed field is also an error.

use serde_json::Value;

/// The errors in a value, each with its location. Schemas can refer to others in the same document.
pub fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check(document, schema, value, "$", &mut faults);
    faults
}

fn check(document: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let Some(keywords) = schema.as_object() else {
        faults.push(format!("{at}: {schema} is no schema"));
        return;
    };
    for (keyword, means) in keywords {
        match keyword.as_str() {
            "$ref" => {
                let path = means.as_str().and_then(|path| path.strip_prefix('#')).unwrap_or("?");
                match document.pointer(path) {
                    Some(schema) => check(document, schema, value, at, faults),
                    None => faults.push(format!("{at}: there is no {means}")),
                }
            }
            "type" => {
                let types = means.as_array().map_or_else(|| vec![means.clone()], Clone::clone);
                if !types.iter().any(|name| is_a(value, name.as_str().unwrap_or_default())) {
                    faults.push(format!("{at}: {value} is no {means}"));
                }
            }
            "const" if means != value => faults.push(format!("{at}: {value} is not {means}")),
            "enum" if !means.as_array().is_some_and(|all| all.contains(value)) => {
                faults.push(format!("{at}: {value} is none of {means}"));
            }
            "minimum" if value.is_number() && value.as_f64() < means.as_f64() => {
                faults.push(format!("{at}: {value} is below {means}"))
            }
            "oneOf" => {
                let fits = |schema: &&Value| self::faults(document, schema, value).is_empty();
                let fitting = means.as_array().map_or(0, |all| all.iter().filter(fits).count());
                if fitting != 1 {
                    faults.push(format!("{at}: {value} fits {fitting} of {means}"));
                }
            }
            "required" => {
                for name in means.as_array().into_iter().flatten().filter_map(Value::as_str) {
                    if value.get(name).is_none() {
                        faults.push(format!("{at}: {name} is missing"));
                    }
                }
            }
            "properties" => {
                for (name, field) in value.as_object().into_iter().flatten() {
                    match means.get(name) {
                        Some(schema) => check(document, schema, field, &format!("{at}.{name}"), faults),
                        None => faults.push(format!("{at}: {name} is not described")),
                    }
                }
            }
            "items" => {
                for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(document, means, item, &format!("{at}[{number}]"), faults);
                }
            }
            "const" | "enum" | "minimum" | "additionalProperties" => {}
            "description" | "format" | "default" => {}
            other => faults.push(format!("{at}: unsupported keyword {other}")),
        }
    }
}

fn is_a(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

#[test]
fn the_schema_validator_is_strict() {
    use serde_json::json;
    let document = json!({ "word": { "type": "string", "enum": ["a", "b"] } });
    let schema = json!({
        "type": "object",
        "required": ["word"],
        "properties": {
            "word": { "$ref": "#/word" },
            "count": { "type": ["integer", "null"], "minimum": 1 },
            "list": { "type": "array", "items": { "const": true } },
            "either": { "oneOf": [{ "type": "null" }, { "type": "object", "properties": {} }] }
        }
    });
    let good = json!({ "word": "a", "count": null, "list": [true], "either": {} });
    assert_eq!(faults(&document, &schema, &good), Vec::<String>::new());
    for bad in [
        json!([]),
        json!({}),
        json!({ "word": "c" }),
        json!({ "word": 1 }),
        json!({ "word": "a", "count": 0 }),
        json!({ "word": "a", "count": 1.5 }),
        json!({ "word": "a", "list": [true, false] }),
        json!({ "word": "a", "either": 1 }),
        json!({ "word": "a", "other": 1 }),
    ] {
        assert_ne!(faults(&document, &schema, &bad), Vec::<String>::new(), "{bad}");
    }
    assert_ne!(faults(&document, &json!({ "$ref": "#/none" }), &json!(1)), Vec::<String>::new());
    assert_ne!(faults(&document, &json!({ "maximum": 1 }), &json!(1)), Vec::<String>::new());
}
