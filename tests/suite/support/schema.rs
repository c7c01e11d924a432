//! The schema of the wire as the tests read it: no more of JSON Schema than it uses, and with it
//! what was met of it. That this reads it as others do is held to Python's `jsonschema`
//! (`tests/suite/schema/agreement.rs`).

use std::{cell::RefCell, collections::HashMap, fmt, sync::LazyLock};

use regex::Regex;
use serde_json::{Map, Value, value::RawValue};

static WIRE: LazyLock<Schema> = LazyLock::new(|| {
    Schema::new(serde_json::from_str(include_str!("../../../docs/wire.schema.json")).expect("JSON"))
});

thread_local! {
    /// What passed between clients of this test and a gateway, where a test wants to know.
    static TRAFFIC: RefCell<Option<Traffic>> = const { RefCell::new(None) };
}

/// Texts as they were sent.
#[derive(Debug, Default)]
pub struct Traffic {
    pub said: Vec<String>,
    pub heard: Vec<String>,
}

/// Keeps from now on what clients of this test say and hear.
pub fn record() {
    TRAFFIC.set(Some(Traffic::default()));
}

pub fn recorded() -> Traffic {
    TRAFFIC.take().expect("it was recorded")
}

/// A client sends this, right or wrong.
pub fn said(text: &str) {
    TRAFFIC.with_borrow_mut(|traffic| {
        if let Some(traffic) = traffic {
            traffic.said.push(text.into());
        }
    });
}

/// The gateway says this, and must say it right.
pub fn heard(text: &str) {
    let Ok(message) = serde_json::from_str(text) else {
        // What holds a number that no `Value` holds is JSON all the same.
        assert!(serde_json::from_str::<&RawValue>(text).is_ok(), "no JSON: {text}");
        return;
    };
    if let Err(broken) = Schema::wire().check("GatewayMessage", &message) {
        panic!("not by docs/wire.schema.json: {text}: {broken}");
    }
    TRAFFIC.with_borrow_mut(|traffic| {
        if let Some(traffic) = traffic {
            traffic.heard.push(text.into());
        }
    });
}

pub struct Schema {
    root: Value,
    patterns: HashMap<String, Regex>,
}

/// The rule that a value broke.
#[derive(Debug)]
pub struct Broken<'a> {
    keyword: &'a str,
    wanted: &'a Value,
    value: &'a Value,
}

impl fmt::Display for Broken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} breaks {} {}", self.value, self.keyword, self.wanted)
    }
}

/// The rules that a value kept: schemas, and members of an `enum`.
type Kept<'a> = Result<Vec<&'a Value>, Broken<'a>>;

impl Schema {
    pub fn wire() -> &'static Self {
        &WIRE
    }

    fn new(root: Value) -> Self {
        let mut schema = Self { root, patterns: HashMap::new() };
        let patterns: Vec<_> =
            schema.rules().into_iter().filter_map(|(_, rule)| pattern(rule)).collect();
        let compile = |pattern: String| (pattern.clone(), Regex::new(&pattern).expect("a pattern"));
        schema.patterns = patterns.into_iter().map(compile).collect();
        schema
    }

    /// What of this definition a value keeps, or what it breaks.
    pub fn check<'a>(&'a self, definition: &str, value: &'a Value) -> Kept<'a> {
        self.keep(self.definition(definition), value)
    }

    /// The same of the schema itself.
    pub fn check_whole<'a>(&'a self, value: &'a Value) -> Kept<'a> {
        self.keep(&self.root, value)
    }

    pub fn definition(&self, name: &str) -> &Value {
        self.root["$defs"].get(name).unwrap_or_else(|| panic!("no definition {name}"))
    }

    /// All that a value may keep, each with its place. What is said of what must *not* be is none.
    pub fn rules(&self) -> Vec<(String, &Value)> {
        let mut rules = Vec::new();
        collect(&mut rules, String::new(), &self.root);
        rules
    }

    fn keep<'a>(&'a self, rule: &'a Value, value: &'a Value) -> Kept<'a> {
        let mut kept = vec![rule];
        let keywords = rule.as_object().expect("a schema is an object");
        for (keyword, wanted) in keywords {
            kept.extend(self.keep_keyword(keyword, wanted, keywords, value)?);
        }
        Ok(kept)
    }

    fn keep_keyword<'a>(
        &'a self,
        keyword: &'a str,
        wanted: &'a Value,
        beside: &'a Map<String, Value>,
        value: &'a Value,
    ) -> Kept<'a> {
        let broken = || Broken { keyword, wanted, value };
        let when = |kept: bool| if kept { Ok(Vec::new()) } else { Err(broken()) };
        let number = wanted.as_u64().unwrap_or_default();
        let rules = || wanted.as_array().into_iter().flatten();
        match keyword {
            "$schema" | "$comment" | "$defs" | "title" | "description" => when(true),
            "$ref" => {
                let name = wanted.as_str().and_then(|to| to.strip_prefix("#/$defs/"));
                self.check(name.expect("a definition of this file"), value)
            }
            "type" => {
                let kinds = wanted.as_array().map_or(std::slice::from_ref(wanted), Vec::as_slice);
                when(kinds.iter().any(|kind| is(value, kind.as_str().expect("a type"))))
            }
            "const" => when(wanted == value),
            "enum" => rules().find(|one| *one == value).map(|one| vec![one]).ok_or_else(broken),
            "oneOf" | "anyOf" => {
                let fitting: Vec<_> =
                    rules().filter_map(|rule| self.keep(rule, value).ok()).collect();
                let enough =
                    if keyword == "oneOf" { fitting.len() == 1 } else { !fitting.is_empty() };
                enough.then(|| fitting.concat()).ok_or_else(broken)
            }
            "allOf" => self.keep_all(rules().map(|rule| (rule, value))),
            "not" => when(self.keep(wanted, value).is_err()),
            "required" => when(value.as_object().is_none_or(|members| {
                rules().all(|name| members.contains_key(name.as_str().expect("a name")))
            })),
            "properties" => {
                let rules = wanted.as_object().into_iter().flatten();
                self.keep_all(rules.filter_map(|(name, rule)| Some((rule, value.get(name)?))))
            }
            "additionalProperties" => {
                let known =
                    |name: &str| beside.get("properties").is_some_and(|p| p.get(name).is_some());
                let members = value.as_object().into_iter().flatten();
                let mut others = members.filter(|(name, _)| !known(name));
                match wanted {
                    Value::Bool(false) => when(others.next().is_none()),
                    rule => self.keep_all(others.map(|(_, value)| (rule, value))),
                }
            }
            "items" => {
                self.keep_all(value.as_array().into_iter().flatten().map(|one| (wanted, one)))
            }
            "minItems" => when(value.as_array().is_none_or(|items| items.len() as u64 >= number)),
            "minProperties" => when(value.as_object().is_none_or(|all| all.len() as u64 >= number)),
            "maxProperties" => when(value.as_object().is_none_or(|all| all.len() as u64 <= number)),
            "minLength" => when(value.as_str().is_none_or(|s| s.chars().count() as u64 >= number)),
            "maxLength" => when(value.as_str().is_none_or(|s| s.chars().count() as u64 <= number)),
            "minimum" => when(value.as_f64().is_none_or(|n| n >= number as f64)),
            "maximum" => when(value.as_f64().is_none_or(|n| n <= number as f64)),
            "pattern" => {
                let pattern = &self.patterns[wanted.as_str().expect("a pattern")];
                when(value.as_str().is_none_or(|text| pattern.is_match(text)))
            }
            other => panic!("the tests do not know the keyword {other}"),
        }
    }

    fn keep_all<'a>(&'a self, each: impl Iterator<Item = (&'a Value, &'a Value)>) -> Kept<'a> {
        let mut kept = Vec::new();
        for (rule, value) in each {
            kept.extend(self.keep(rule, value)?);
        }
        Ok(kept)
    }
}

fn pattern(rule: &Value) -> Option<String> {
    Some(rule.get("pattern")?.as_str().expect("a pattern").to_owned())
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        // Also one of more digits than any machine's number has.
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("the tests do not know the type {other}"),
    }
}

fn collect<'a>(rules: &mut Vec<(String, &'a Value)>, at: String, rule: &'a Value) {
    rules.push((at.clone(), rule));
    for (keyword, inner) in rule.as_object().into_iter().flatten() {
        match (keyword.as_str(), inner) {
            ("properties" | "$defs", Value::Object(named)) => {
                for (name, rule) in named {
                    collect(rules, format!("{at}/{keyword}/{name}"), rule);
                }
            }
            ("oneOf" | "anyOf" | "allOf" | "enum", Value::Array(several)) => {
                for (n, rule) in several.iter().enumerate() {
                    collect(rules, format!("{at}/{keyword}/{n}"), rule);
                }
            }
            ("items" | "additionalProperties", Value::Object(_)) => {
                collect(rules, format!("{at}/{keyword}"), inner);
            }
            _ => {}
        }
    }
}
