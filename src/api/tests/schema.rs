//! Whether an answer is what the description says: types, required fields, no field that is not described.

use super::*;

/// Where the answer and the description differ, if they do. `path` as the description writes it.
pub(super) fn difference(contract: &Value, method: &str, path: &str, answer: &Answer) -> Option<String> {
    let status = answer.status.as_u16().to_string();
    let response = &contract["paths"][path][method.to_lowercase()]["responses"][&status];
    if response.is_null() {
        return Some(format!("{method} {path} does not describe {status}"));
    }
    let response = resolved(contract, response);
    let kind = answer.header("content-type").split(';').next().unwrap_or_default();
    let schema = &response["content"][kind]["schema"];
    if schema.is_null() {
        return Some(format!("{method} {path} {status} does not describe {kind}"));
    }
    differs(contract, schema, &answer.json, "$").map(|why| format!("{method} {path} {status}: {why}"))
}

fn resolved<'v>(contract: &'v Value, value: &'v Value) -> &'v Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            let pointer = reference.strip_prefix('#').expect("a local reference");
            resolved(contract, contract.pointer(pointer).expect("it leads somewhere"))
        }
        None => value,
    }
}

fn differs(contract: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    let schema = resolved(contract, schema);
    for word in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[word].as_array() {
            let fits = choices
                .iter()
                .any(|choice| differs(contract, choice, value, at).is_none());
            return (!fits).then(|| format!("{at}: {value} is none of the choices"));
        }
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return Some(format!("{at}: {value} is not among {words:?}"));
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !types.is_empty() && !types.iter().any(|name| is_a(value, name)) {
        return Some(format!("{at}: {value} is not a {types:?}"));
    }
    match value {
        Value::Array(items) => {
            let mut numbered = items.iter().enumerate();
            numbered.find_map(|(n, item)| differs(contract, &schema["items"], item, &format!("{at}[{n}]")))
        }
        Value::Object(fields) => {
            let parts = parts(contract, schema);
            let described = |name: &str| {
                parts
                    .iter()
                    .map(|part| &part["properties"][name])
                    .find(|p| !p.is_null())
            };
            let closed = parts.iter().any(|part| part["properties"].is_object());
            let required = parts.iter().filter_map(|part| part["required"].as_array()).flatten();
            let mut missing = required
                .filter_map(Value::as_str)
                .filter(|name| !fields.contains_key(*name));
            if let Some(name) = missing.next() {
                return Some(format!("{at}.{name} is missing"));
            }
            fields.iter().find_map(|(name, field)| match described(name) {
                Some(schema) => differs(contract, schema, field, &format!("{at}.{name}")),
                None if closed => Some(format!("{at}.{name} is not described")),
                None => None,
            })
        }
        _ => None,
    }
}

/// A schema, or all those it puts together.
fn parts<'v>(contract: &'v Value, schema: &'v Value) -> Vec<&'v Value> {
    match schema["allOf"].as_array() {
        Some(all) => {
            let each = all.iter().map(|part| parts(contract, resolved(contract, part)));
            each.flatten().collect()
        }
        None => vec![schema],
    }
}

fn is_a(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no such type: {other}"),
    }
}

#[test]
fn differences_are_found() {
    let contract = json!({"components": {"schemas": {"A": {"type": "object", "required": ["a"],
        "properties": {"a": {"type": ["string", "null"]}, "n": {"enum": ["x"]}}}}}});
    let schema = json!({"allOf": [{"$ref": "#/components/schemas/A"},
        {"type": "object", "required": ["v"], "properties": {"v": {"type": "array", "items": {"type": "integer"}}}}]});
    let found = |value: Value| differs(&contract, &schema, &value, "$");
    assert_eq!(found(json!({"a": "x", "n": "x", "v": [1, 2]})), None);
    assert_eq!(found(json!({"a": null, "v": []})), None);
    for wrong in [
        json!({"v": []}),
        json!({"a": 7, "v": []}),
        json!({"a": "x", "v": [1, "2"]}),
        json!({"a": "x", "v": [], "b": 1}),
        json!({"a": "x", "v": [], "n": "y"}),
        json!({"a": "x"}),
    ] {
        assert!(found(wrong.clone()).is_some(), "{wrong}");
    }
}
