//! A second opinion on JSON (RFC 8259) that shares no code with the parser in use: it only
//! finds where values begin and end.

/// The raw members of an object: keys with their quotes, values as they stand.
pub type Members<'a> = Vec<(&'a [u8], &'a [u8])>;

pub fn object(json: &[u8]) -> Option<Members<'_>> {
    let mut reader = Reader::new(json);
    let members = reader.object()?;
    reader.at_end().then_some(members)
}

/// The raw values of an array.
pub fn array(json: &[u8]) -> Option<Vec<&[u8]>> {
    let mut reader = Reader::new(json);
    let items = reader.array()?;
    reader.at_end().then_some(items)
}

pub fn is_valid(json: &[u8]) -> bool {
    let mut reader = Reader::new(json);
    reader.value().is_some() && reader.at_end()
}

/// How deep arrays and objects are nested.
pub fn depth(json: &[u8]) -> usize {
    let mut reader = Reader::new(json);
    reader.value();
    reader.deepest
}

/// The text of a raw string.
pub fn text(raw: &[u8]) -> Option<String> {
    serde_json::from_slice(raw).ok()
}

struct Reader<'a> {
    json: &'a [u8],
    at: usize,
    depth: usize,
    deepest: usize,
}

impl<'a> Reader<'a> {
    fn new(json: &'a [u8]) -> Self {
        let mut reader = Self { json, at: 0, depth: 0, deepest: 0 };
        reader.space();
        reader
    }

    fn at_end(&self) -> bool {
        self.at == self.json.len()
    }

    fn peek(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// One value and the space behind it; answers the value alone.
    fn value(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        match self.peek()? {
            b'{' => drop(self.object()?),
            b'[' => drop(self.array()?),
            b'"' => self.string()?,
            b't' => self.word(b"true")?,
            b'f' => self.word(b"false")?,
            b'n' => self.word(b"null")?,
            _ => self.number()?,
        }
        let value = self.json[start..self.at].trim_ascii_end();
        self.space();
        Some(value)
    }

    fn object(&mut self) -> Option<Members<'a>> {
        let mut members = Vec::new();
        self.open(b'{')?;
        while self.eat(b'}').is_none() {
            if !members.is_empty() {
                self.eat(b',')?;
                self.space();
            }
            let start = self.at;
            self.string()?;
            let key = &self.json[start..self.at];
            self.space();
            self.eat(b':')?;
            self.space();
            members.push((key, self.value()?));
        }
        self.close();
        Some(members)
    }

    fn array(&mut self) -> Option<Vec<&'a [u8]>> {
        let mut items = Vec::new();
        self.open(b'[')?;
        while self.eat(b']').is_none() {
            if !items.is_empty() {
                self.eat(b',')?;
                self.space();
            }
            items.push(self.value()?);
        }
        self.close();
        Some(items)
    }

    fn open(&mut self, bracket: u8) -> Option<()> {
        self.eat(bracket)?;
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        self.space();
        Some(())
    }

    fn close(&mut self) {
        self.depth -= 1;
        self.space();
    }

    fn string(&mut self) -> Option<()> {
        self.eat(b'"')?;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(()),
                b'\\' => {
                    let escape = self.peek()?;
                    self.at += 1;
                    match escape {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                        b'u' => {
                            let digits = self.json.get(self.at..self.at + 4)?;
                            if !digits.iter().all(u8::is_ascii_hexdigit) {
                                return None;
                            }
                            self.at += 4;
                        }
                        _ => return None,
                    }
                }
                0..0x20 => return None,
                _ => {}
            }
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.json[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    fn number(&mut self) -> Option<()> {
        let _ = self.eat(b'-');
        if self.eat(b'0').is_none() {
            self.digits()?;
        }
        if self.eat(b'.').is_some() {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            let _ = self.eat(b'+').or_else(|| self.eat(b'-'));
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}
