//! Reading a request of Gemini as strictly as Google does.

use serde_json::{Map, Value};

use crate::mock::api::Place;
use crate::mock::dialect::strict::{self, list, optional, text};
use crate::mock::request::{Asked, Refused, tokens};

/// What Google documents of a request.
const FIELDS: &str = "contents systemInstruction tools toolConfig safetySettings generationConfig \
    cachedContent labels model serviceTier store";

/// What Google documents of `generationConfig`.
const CONFIG: &str = "candidateCount enableEnhancedCivicAnswers frequencyPenalty imageConfig logprobs \
    maxOutputTokens mediaResolution presencePenalty responseFormat responseJsonSchema responseLogprobs \
    responseMimeType responseModalities responseSchema seed speechConfig stopSequences temperature \
    thinkingConfig topK topP ResponseJsonSchema";

/// What may be in a schema of `parameters` or `responseSchema`; JSON Schema has fields of its own.
const SCHEMA: &str = "type format title description nullable enum maxItems minItems properties required \
    minProperties maxProperties minLength maxLength pattern example anyOf propertyOrdering default items \
    minimum maximum";

/// What a part may hold, one of them.
const DATA: &str = "text inlineData functionCall functionResponse fileData executableCode codeExecutionResult \
    toolCall toolResponse";

/// What a part may hold besides.
const BESIDES: &str = "thought thoughtSignature videoMetadata partMetadata mediaResolution";

/// Fields whose values have names of the user's own.
const OPAQUE: &str =
    "args response parameters parametersJsonSchema responseSchema responseJsonSchema labels";

/// The same with every name of Google's in camel case: it takes `snake_case` as well.
fn camel(value: Value) -> Result<Value, String> {
    match value {
        Value::Array(values) => values.into_iter().map(camel).collect(),
        Value::Object(object) => {
            let mut same = Map::new();
            for (name, value) in object {
                let mut words = name.split('_');
                let mut camel_name = words.next().unwrap_or_default().to_owned();
                for word in words {
                    let mut letters = word.chars();
                    camel_name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
                    camel_name.push_str(letters.as_str());
                }
                let opaque = OPAQUE
                    .split_ascii_whitespace()
                    .any(|name| name == camel_name);
                let value = if opaque { value } else { camel(value)? };
                if same.insert(camel_name, value).is_some() {
                    return Err(format!("field `{name}` is there twice"));
                }
            }
            Ok(Value::Object(same))
        }
        other => Ok(other),
    }
}

/// Reads and checks the body.
pub(in crate::mock) fn read<'a>(body: &'a [u8], place: &Place) -> Result<Asked<'a>, Refused> {
    parse(body, place).map_err(|reason| Refused::new(400, reason))
}

fn unheard(name: &str, at: &str) -> String {
    format!("Invalid JSON payload received. Unknown name \"{name}\"{at}: Cannot find field.")
}

fn parse<'a>(body: &'a [u8], place: &Place) -> Result<Asked<'a>, String> {
    let Value::Object(fields) = camel(Value::Object(strict::object(body)?))? else {
        return Err("invalid body: not a JSON object".to_owned());
    };
    if let Some(name) = strict::unknown(&fields, &[FIELDS]) {
        return Err(unheard(name, ""));
    }
    let none = Map::new();
    let config = match fields.get("generationConfig") {
        None => &none,
        Some(config) => config
            .as_object()
            .ok_or("Invalid value at 'generation_config'")?,
    };
    if let Some(name) = strict::unknown(config, &[CONFIG]) {
        return Err(unheard(name, " at 'generation_config'"));
    }
    if let Some(value) = config.get("responseSchema") {
        schema(value, "generation_config.response_schema")?;
    }
    let max_tokens = optional(config, "maxOutputTokens", "an integer", Value::as_u64)?;
    if max_tokens == Some(0) {
        return Err("max_output_tokens must be positive.".to_owned());
    }
    let choices = optional(config, "candidateCount", "an integer", Value::as_u64)?;
    if choices.is_some_and(|choices| choices != 1) {
        return Err("Multiple candidates is not enabled for this model".to_owned());
    }
    let mut text_bytes = match fields.get("systemInstruction") {
        None | Some(Value::Null) => 0,
        Some(content) => list(content.get("parts"))
            .iter()
            .map(|part| text(part, "text").len() as u64)
            .sum(),
    };
    text_bytes += contents(fields.get("contents"))?;
    let thinking = config.get("thinkingConfig").unwrap_or(&Value::Null);
    let thoughts = thinking.get("includeThoughts");
    Ok(Asked {
        stream: place.stream,
        include_usage: true,
        max_tokens,
        choices: 1,
        prompt_tokens: tokens(text_bytes),
        tools: tools(&fields)?,
        thinks: thoughts.and_then(Value::as_bool).unwrap_or(false),
        body,
        messages: place.messages(),
        ..Asked::default()
    })
}

/// Checks the tools and returns their names.
fn tools(fields: &Map<String, Value>) -> Result<Vec<String>, String> {
    optional(fields, "tools", "a list", Value::as_array)?;
    let mut names = Vec::new();
    for tool in list(fields.get("tools")) {
        let object = tool.as_object().ok_or("Invalid value at 'tools'")?;
        for name in ["type", "function", "name", "inputSchema"] {
            if object.contains_key(name) {
                return Err(unheard(name, " at 'tools[0]'"));
            }
        }
        let declared = tool.get("functionDeclarations");
        for function in list(declared) {
            let name = text(function, "name");
            if name.is_empty() {
                return Err("GenerateContentRequest.tools[0].function_declarations[0].name: Invalid function name.".to_owned());
            }
            if let Some(parameters) = function.get("parameters") {
                schema(parameters, "tools[0].function_declarations[0].parameters")?;
            }
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Checks that a schema has only what Google knows.
fn schema(value: &Value, at: &str) -> Result<(), String> {
    let object = value
        .as_object()
        .ok_or_else(|| format!("Invalid value at '{at}'"))?;
    if let Some(name) = strict::unknown(object, &[SCHEMA]) {
        return Err(unheard(name, &format!(" at '{at}'")));
    }
    let inner = object.get("properties").and_then(Value::as_object);
    let inner = inner.into_iter().flat_map(Map::values);
    let inner = inner.chain(object.get("items"));
    for value in inner.chain(list(object.get("anyOf"))) {
        schema(value, at)?;
    }
    Ok(())
}

/// Checks the turns and returns the bytes of their texts.
fn contents(contents: Option<&Value>) -> Result<u64, String> {
    let contents = list(contents);
    if contents.is_empty() {
        return Err("GenerateContentRequest.contents: contents is not specified".to_owned());
    }
    let mut text_bytes = 0;
    let mut calls: Vec<&str> = Vec::new();
    let mut role_before = "";
    for content in contents {
        let role = content
            .get("role")
            .map_or("user", |_| text(content, "role"));
        if !matches!(role, "user" | "model") {
            return Err("Please use a valid role: user, model.".to_owned());
        }
        let object = content.as_object().ok_or("Invalid value at 'contents'")?;
        if let Some(name) = strict::unknown(object, &["role parts"]) {
            return Err(unheard(name, " at 'contents[0]'"));
        }
        let parts = list(content.get("parts"));
        if parts.is_empty() {
            return Err(
                "GenerateContentRequest.contents.parts: contents.parts must not be empty.".into(),
            );
        }
        let mut called = Vec::new();
        let mut answered = Vec::new();
        for part in parts {
            text_bytes += self::part(part)?;
            if let Some(call) = part.get("functionCall") {
                called.push(text(call, "name"));
            }
            if let Some(response) = part.get("functionResponse") {
                if !response.get("response").is_some_and(Value::is_object) {
                    return Err("Invalid value at 'function_response.response' (a Struct)".into());
                }
                text_bytes += strings(&response["response"]);
                answered.push(text(response, "name"));
            }
        }
        if !called.is_empty() && (role != "model" || role_before != "user") {
            return Err("Please ensure that function call turn comes immediately after a user turn or after a function response turn.".to_owned());
        }
        let (mut open, mut given) = (calls.clone(), answered.clone());
        open.sort_unstable();
        given.sort_unstable();
        let odd = match role {
            "user" => open.len() != given.len(),
            _ => !open.is_empty() || !given.is_empty(),
        };
        if odd {
            return Err("Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.".to_owned());
        }
        if role == "user" && open != given {
            return Err(format!(
                "Please ensure that function response names ({}) match those of the function call turn ({}).",
                given.join(", "),
                open.join(", ")
            ));
        }
        calls = called;
        role_before = role;
    }
    if calls.is_empty() {
        return Ok(text_bytes);
    }
    Err(
        "Please ensure that single turn requests end with a user role or the role field is empty."
            .to_owned(),
    )
}

/// Checks a part and returns the bytes of its text.
fn part(part: &Value) -> Result<u64, String> {
    let object = part
        .as_object()
        .ok_or("Invalid value at 'contents.parts'")?;
    if let Some(name) = strict::unknown(object, &[DATA, BESIDES]) {
        return Err(unheard(name, " at 'contents[0].parts[0]'"));
    }
    let data = object
        .keys()
        .filter(|name| DATA.split_ascii_whitespace().any(|data| data == *name));
    if data.count() != 1 {
        return Err("Invalid value at 'contents.parts': required oneof field 'data' must have one initialized field".to_owned());
    }
    if let Some(call) = part.get("functionCall") {
        let args = call.get("args");
        if text(call, "name").is_empty() || args.is_some_and(|args| !args.is_object()) {
            return Err(
                "Invalid value at 'contents.parts.function_call' (name or args)".to_owned(),
            );
        }
    }
    Ok(text(part, "text").len() as u64)
}

/// The bytes of all texts in the result of a call.
fn strings(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(values) => values.iter().map(strings).sum(),
        Value::Object(object) => object.values().map(strings).sum(),
        _ => 0,
    }
}
