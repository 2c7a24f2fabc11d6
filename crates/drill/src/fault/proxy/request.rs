//! Finds the end of an HTTP/1 request, for answers in the upstream's place.

/// The longest head that is read before an answer is given anyway.
const HEAD_LIMIT: usize = 64 << 10;

const METHODS: [&[u8]; 9] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"DELETE ",
    b"PATCH ",
    b"OPTIONS ",
    b"CONNECT ",
    b"PRI ",
];

/// Whether a piece is the start of a request. Clients do not pipeline, so a request starts
/// with a piece of its own.
pub(crate) fn starts(piece: &[u8]) -> bool {
    METHODS.iter().any(|method| piece.starts_with(method))
}

/// A request as it comes in.
#[derive(Debug, Default)]
pub(crate) struct Request {
    head: Vec<u8>,
    body: Option<Body>,
}

#[derive(Debug)]
enum Body {
    /// Bytes still to come.
    Length(u64),
    /// The last bytes, in which the end of the last chunk is looked for.
    Chunked(Vec<u8>),
}

impl Request {
    /// Takes a piece; whether the request is whole.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> bool {
        if let Some(body) = &mut self.body {
            return body.feed(piece);
        }
        self.head.extend_from_slice(piece);
        let Some(end) = find(&self.head, b"\r\n\r\n") else {
            return self.head.len() > HEAD_LIMIT;
        };
        let rest = self.head.split_off(end + 4);
        self.body.insert(Body::announced(&self.head)).feed(&rest)
    }
}

impl Body {
    fn announced(head: &[u8]) -> Self {
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        let value = |name: &str| {
            let mut fields = head.lines().filter_map(|line| line.split_once(':'));
            fields.find(|(field, _)| field.trim() == name).map(|(_, value)| value.trim())
        };
        if value("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
            return Self::Chunked(b"\r\n".to_vec());
        }
        Self::Length(value("content-length").and_then(|n| n.parse().ok()).unwrap_or(0))
    }

    fn feed(&mut self, piece: &[u8]) -> bool {
        match self {
            Self::Length(left) => {
                *left = left.saturating_sub(piece.len() as u64);
                *left == 0
            }
            Self::Chunked(last) => {
                last.extend_from_slice(piece);
                let whole = last.ends_with(b"\r\n0\r\n\r\n");
                last.drain(..last.len().saturating_sub(7));
                whole
            }
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_wherever_the_request_is_cut() {
        let requests: [&[u8]; 4] = [
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ];
        for request in requests {
            assert!(starts(request));
            for cut in 1..request.len() {
                let mut reader = Request::default();
                let (first, second) = request.split_at(cut);
                assert!(!reader.feed(first), "cut at {cut}");
                assert!(reader.feed(second), "cut at {cut}");
            }
        }
        assert!(!starts(b"{\"model\""));
    }
}
