//! The little of mmCIF that is needed: categories as tables of text.

use std::collections::HashMap;

/// Whether a text begins as mmCIF does.
pub(crate) fn looks_like(text: &str) -> bool {
    text.lines()
        .map(str::trim_start)
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .is_some_and(|line| line.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("data_")))
}

/// One category: its columns, and its rows in file order.
#[derive(Debug, Default)]
pub(crate) struct Category<'a> {
    columns: Vec<&'a str>,
    values: Vec<&'a str>,
    looped: bool,
}

impl<'a> Category<'a> {
    /// Rows of the named columns; `None` if a column is missing.
    pub(crate) fn rows<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Option<impl Iterator<Item = [&'a str; N]> + Clone + '_> {
        let mut positions = [0; N];
        for (position, name) in positions.iter_mut().zip(names) {
            *position = self.place(name)?;
        }
        let rows = self.values.chunks_exact(self.columns.len());
        Some(rows.map(move |row| positions.map(|position| row[position])))
    }

    /// The value of each row in the named column; `.` all along if there is no such column.
    pub(crate) fn column(&self, name: &str) -> impl Iterator<Item = &'a str> + '_ {
        let position = self.place(name);
        let rows = self.values.chunks_exact(self.columns.len().max(1));
        rows.map(move |row| position.map_or(".", |position| row[position]))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    /// Names of mmCIF do not depend on case.
    fn place(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.eq_ignore_ascii_case(name))
    }
}

/// The wanted categories of a data block, by name.
pub(crate) type Categories<'a> = HashMap<String, Category<'a>>;

/// Reads the first data block, keeping the categories named in `wanted` (with their underscore).
pub(crate) fn read<'a>(text: &'a str, wanted: &[&str]) -> Result<Categories<'a>, String> {
    let mut block = Categories::default();
    let mut tokens = Tokens { text, position: 0 }.peekable();
    let mut blocks = 0;
    while let Some(token) = tokens.next() {
        let token = token?;
        if token.is_keyword("data_") {
            blocks += 1;
            if blocks > 1 {
                break;
            }
        } else if token.text.eq_ignore_ascii_case("loop_") && token.bare {
            read_loop(&mut tokens, wanted, &mut block)?;
        } else if token.is_name() {
            let Some(value) = tokens.next().transpose()? else {
                return Err(format!("{} has no value", token.text));
            };
            if let Some((category, column)) = split_name(token.text)
                && wanted.contains(&category.as_str())
            {
                let table = block.entry(category).or_default();
                if table.looped {
                    return Err(twice(token.text));
                }
                table.columns.push(column);
                table.values.push(value.text);
            }
        }
    }
    if blocks == 0 {
        return Err("not mmCIF: no data_ block".to_owned());
    }
    Ok(block)
}

fn read_loop<'a>(
    tokens: &mut std::iter::Peekable<Tokens<'a>>,
    wanted: &[&str],
    block: &mut Categories<'a>,
) -> Result<(), String> {
    let mut names = Vec::new();
    while let Some(token) = tokens.next_if(|token| token.as_ref().is_ok_and(Token::is_name)) {
        names.push(token?.text);
    }
    let category = names.first().and_then(|name| split_name(name));
    let keep = category.as_ref().is_some_and(|(category, _)| wanted.contains(&category.as_str()));
    let mut values = Vec::new();
    let mut count = 0;
    while let Some(token) = tokens.next_if(|token| !token.as_ref().is_ok_and(Token::ends_loop)) {
        let token = token?;
        count += 1;
        if keep {
            values.push(token.text);
        }
    }
    let Some((category, _)) = category else {
        return Ok(());
    };
    if count % names.len() != 0 {
        return Err(format!("the loop of {category} has {} columns but {count} values", names.len()));
    }
    if keep {
        let columns = names.iter().filter_map(|name| split_name(name).map(|(_, column)| column)).collect::<Vec<_>>();
        if columns.len() != names.len() {
            return Err(format!("the loop of {category} has a column without a name"));
        }
        if block.contains_key(&category) {
            return Err(twice(&category));
        }
        block.insert(category, Category { columns, values, looped: true });
    }
    Ok(())
}

fn twice(name: &str) -> String {
    format!("{name} comes after values of its category that are given already")
}

/// `_category.column`, the category in lower case: names of mmCIF do not depend on case.
fn split_name(name: &str) -> Option<(String, &str)> {
    let (category, column) = name.split_once('.')?;
    Some((category.to_ascii_lowercase(), column))
}

struct Token<'a> {
    text: &'a str,
    /// Neither quoted nor a text field, so that it may be a keyword or a name.
    bare: bool,
}

impl Token<'_> {
    fn is_name(&self) -> bool {
        self.bare && self.text.starts_with('_')
    }

    fn is_keyword(&self, keyword: &str) -> bool {
        self.bare && self.text.get(..keyword.len()).is_some_and(|start| start.eq_ignore_ascii_case(keyword))
    }

    fn ends_loop(&self) -> bool {
        self.is_name() || ["loop_", "data_", "save_", "stop_", "global_"].iter().any(|keyword| self.is_keyword(keyword))
    }
}

struct Tokens<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Result<Token<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.text.as_bytes();
        loop {
            while bytes.get(self.position).is_some_and(u8::is_ascii_whitespace) {
                self.position += 1;
            }
            if *bytes.get(self.position)? != b'#' {
                break;
            }
            while bytes.get(self.position).is_some_and(|&byte| byte != b'\n') {
                self.position += 1;
            }
        }
        let start = self.position;
        let at_line_start = start == 0 || bytes[start - 1] == b'\n';
        let (content, end, bare) = match bytes[start] {
            b';' if at_line_start => match self.text[start..].find("\n;") {
                Some(length) => (start + 1..start + length, start + length + 2, false),
                None => return Some(Err(self.unclosed(start, "text field"))),
            },
            quote @ (b'\'' | b'"') => {
                // A quote ends the string only before white space: 'a dog's life' is one value.
                let close = (start + 1..bytes.len())
                    .take_while(|&i| bytes[i] != b'\n')
                    .find(|&i| bytes[i] == quote && bytes.get(i + 1).is_none_or(u8::is_ascii_whitespace));
                match close {
                    Some(close) => (start + 1..close, close + 1, false),
                    None => return Some(Err(self.unclosed(start, "quoted value"))),
                }
            }
            _ => {
                let end = (start..bytes.len()).find(|&i| bytes[i].is_ascii_whitespace()).unwrap_or(bytes.len());
                (start..end, end, true)
            }
        };
        self.position = end;
        Some(Ok(Token { text: &self.text[content], bare }))
    }
}

impl Tokens<'_> {
    /// Reports where something began that never ends, and stops there.
    fn unclosed(&mut self, start: usize, what: &str) -> String {
        let line = 1 + self.text[..start].matches('\n').count();
        self.position = self.text.len();
        format!("the {what} that begins on line {line} does not end")
    }
}
