//! `POST /v1/embeddings`: words and pairs of words, hashed into a few dimensions. Texts
//! that share words lie near each other, and the same text always lies in one place.

use http::StatusCode;
use serde_json::{Value, json};

use super::{Answer, completions};
use crate::app::App;
use crate::body::Reply;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::hash;
use crate::run;
use crate::token::{Id, Tokenizer};

/// Dimensions of an embedding unless fewer are asked for.
const DIMENSIONS: usize = 64;

/// Embeds one or more inputs.
pub(crate) async fn embeddings(app: &App, fields: &Fields) -> Answer {
    app.check_model(fields)?;
    let inputs = completions::inputs(&app.model.tokenizer, fields.need("input")?, "input")?;
    let base64 = match fields.text("encoding_format")? {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(ApiError::param("encoding_format", "must be float or base64")),
    };
    let dimensions = fields.integer("dimensions", 1..=DIMENSIONS as i64)?;
    let dimensions = dimensions.map_or(DIMENSIONS, |many| many as usize);
    if let Some(long) = inputs.iter().map(Vec::len).find(|&len| len > app.settings.context) {
        return Err(ApiError::too_long(app.settings.context, long, "input"));
    }
    let tokens: usize = inputs.iter().map(Vec::len).sum();
    let mut held = app.slots.take(tokens).await?;
    run::prefill(app.settings.prefill(tokens)).await;
    let data: Vec<Value> = inputs
        .iter()
        .map(|ids| embed(&app.model.tokenizer, ids, dimensions))
        .map(|vector| if base64 { encode(&vector).into() } else { vector.into() })
        .enumerate()
        .map(|(index, vector): (usize, Value)| {
            json!({"object": "embedding", "index": index, "embedding": vector})
        })
        .collect();
    held.finished(None);
    let answer = json!({
        "object": "list", "data": data, "model": app.settings.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    });
    Ok(Reply::json(StatusCode::OK, answer.to_string()))
}

fn embed(tokenizer: &Tokenizer, ids: &[Id], dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; dimensions];
    let mut before = 0;
    for &id in ids {
        let word = tokenizer.bytes(id).trim_ascii_start().to_ascii_lowercase();
        let word = hash::mix(hash::bytes(&word));
        add(&mut vector, word, 1.0);
        add(&mut vector, hash::mix(before ^ word.rotate_left(1)), 0.5);
        before = word;
    }
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    } else {
        // Nothing to embed still has a direction: callers divide by lengths.
        vector[0] = 1.0;
    }
    vector
}

/// Adds a feature in two places, with signs, so that two words seldom share both.
fn add(vector: &mut [f32], feature: u64, weight: f32) {
    let places = vector.len() as u64;
    for half in [feature, feature.rotate_left(32)] {
        let sign = if half & (1 << 20) == 0 { weight } else { -weight };
        vector[((half & 0xf_ffff) % places) as usize] += sign;
    }
}

/// Base64 of the little-endian floats.
fn encode(vector: &[f32]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            out.push(if digit > group.len() { '=' } else { DIGITS[value as usize] as char });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: &str, b: &str) -> f32 {
        let tokenizer = Tokenizer::new("the ship sails on an even keel in the harbour");
        let embed = |text: &str| embed(&tokenizer, &tokenizer.encode(text), DIMENSIONS);
        embed(a).iter().zip(embed(b)).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn shared_words_are_near() {
        assert!((near("the ship sails", "the ship sails") - 1.0).abs() < 1e-5);
        assert!(
            near("the ship sails", "a ship sails on") > near("the ship sails", "in an even keel")
        );
        assert!((near("", "") - 1.0).abs() < 1e-5);
    }

    #[test]
    fn base64_as_others_write_it() {
        assert_eq!(encode(&[1.0]), "AACAPw==");
        assert_eq!(encode(&[1.0, -2.5]), "AACAPwAAIMA=");
        assert_eq!(encode(&[0.0, 0.0, 0.0]), "AAAAAAAAAAAAAAAA");
    }
}
