//! OpenAI's Files and Batches API.
