//! The little of STAR that is needed: the tables of a file, with the lines of their rows.

/// One block of a STAR file: its names, and its rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Block<'a> {
    /// `particles` of `data_particles`; often empty.
    pub(super) name: &'a str,
    /// Without the leading underscore.
    pub(super) columns: Vec<&'a str>,
    /// Each with the number of its line, counted from 1.
    pub(super) rows: Vec<(usize, Vec<&'a str>)>,
}

/// A value or a keyword of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word<'a> {
    text: &'a str,
    /// Not quoted, so that it may be a keyword or a column.
    bare: bool,
}

/// What a line is by its words alone.
enum Line<'w, 'a> {
    /// `data_name`.
    Block(&'a str),
    Loop,
    /// A column's name, without the underscore, and the values behind it.
    Column(&'a str, &'w [Word<'a>]),
    Values,
}

impl<'w, 'a> Line<'w, 'a> {
    /// Keywords stand alone on their line and are not quoted: `data_01/c.mrc 1` is a row.
    fn of(words: &'w [Word<'a>]) -> Self {
        match *words {
            [Word { text, bare: true }] if text.eq_ignore_ascii_case("loop_") => Self::Loop,
            [Word { text, bare: true }] if starts(text, "data_") => Self::Block(&text["data_".len()..]),
            [Word { text, bare: true }, ref values @ ..] if text.starts_with('_') => Self::Column(&text[1..], values),
            _ => Self::Values,
        }
    }
}

fn starts(text: &str, keyword: &str) -> bool {
    text.get(..keyword.len()).is_some_and(|start| start.eq_ignore_ascii_case(keyword))
}

/// Reads the blocks of a STAR file as RELION writes them: one loop or one list of pairs a block, one row
/// a line. A list of pairs is a table of one row.
///
/// # Errors
/// With the line: a row that has not as many values as there are columns, a quote that does not end, a
/// column named twice, values without a column, a second loop in a block.
pub(super) fn read(text: &str) -> Result<Vec<Block<'_>>, String> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut in_loop = false;
    for (number, line) in (1..).zip(text.lines()) {
        let words = words(line).map_err(|problem| format!("line {number}: {problem}"))?;
        let Some(first) = words.first() else { continue };
        let line = Line::of(&words);
        if let Line::Block(name) = line {
            blocks.push(Block { name, ..Default::default() });
            in_loop = false;
            continue;
        }
        let Some(block) = blocks.last_mut() else {
            return Err(format!("line {number}: expected a data_ block, got `{}`", first.text));
        };
        match line {
            Line::Loop if in_loop || !block.columns.is_empty() => {
                return Err(format!("line {number}: a second table in the block `data_{}`", block.name));
            }
            Line::Loop => in_loop = true,
            // Behind the first row, and with values behind it, it is a value that begins as a column does.
            Line::Column(column, values) if !in_loop || (block.rows.is_empty() && values.is_empty()) => {
                block.add_column(column).map_err(|problem| format!("line {number}: {problem}"))?;
                if !in_loop {
                    block.add_value(number, column, values).map_err(|problem| format!("line {number}: {problem}"))?;
                }
            }
            _ if !in_loop => return Err(format!("line {number}: `{}` belongs to no column", first.text)),
            _ if words.len() != block.columns.len() => {
                return Err(format!(
                    "line {number}: expected {} values, one for each column, got {}",
                    block.columns.len(),
                    words.len()
                ));
            }
            _ => block.rows.push((number, words.iter().map(|word| word.text).collect())),
        }
    }
    Ok(blocks)
}

impl<'a> Block<'a> {
    fn add_column(&mut self, column: &'a str) -> Result<(), String> {
        if self.columns.contains(&column) {
            return Err(format!("the column _{column} a second time"));
        }
        self.columns.push(column);
        Ok(())
    }

    /// The value of one pair, all of which are one row.
    fn add_value(&mut self, number: usize, column: &str, values: &[Word<'a>]) -> Result<(), String> {
        let &[Word { text, .. }] = values else {
            return Err(format!("expected one value for _{column}, got {}", values.len()));
        };
        match self.rows.first_mut() {
            Some((_, row)) => row.push(text),
            None => self.rows.push((number, vec![text])),
        }
        Ok(())
    }
}

/// Words between white space, or between quotes; `#` starts a comment, also behind a column's name.
fn words(line: &str) -> Result<Vec<Word<'_>>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '#' {
            break;
        }
        let bare = !matches!(first, '"' | '\'');
        let (text, behind) = if bare {
            rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()))
        } else {
            quoted(&rest[1..], first).ok_or_else(|| format!("the quote {first} does not end"))?
        };
        words.push(Word { text, bare });
        rest = behind.trim_start();
    }
    Ok(words)
}

/// What is inside a quote, and what is behind it. A quote ends only before white space: `'dog's'` is one value.
fn quoted(text: &str, quote: char) -> Option<(&str, &str)> {
    let ends = |at: usize| text[at + 1..].chars().next().is_none_or(char::is_whitespace);
    let (end, _) = text.match_indices(quote).find(|&(at, _)| ends(at))?;
    Some((&text[..end], &text[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn blocks_are_read_as_relion_writes_them() {
        let text = "# version 30001\n\ndata_optics\n\n_rlnVoltage 300.0\n_rlnOpticsGroupName 'a b'\n\n\
                    data_particles\n\nloop_\n_rlnImageName #1\n_rlnClassNumber #2\na.mrc 1\n\n  \"b c.mrc\"  2 # late\n";
        let blocks = read(text).unwrap();
        assert_eq!(blocks.len(), 2);
        assert_eq!((blocks[0].name, &blocks[0].columns[..]), ("optics", &["rlnVoltage", "rlnOpticsGroupName"][..]));
        assert_eq!(blocks[0].rows, [(5, vec!["300.0", "a b"])]);
        assert_eq!(blocks[1].columns, ["rlnImageName", "rlnClassNumber"]);
        assert_eq!(blocks[1].rows, [(13, vec!["a.mrc", "1"]), (15, vec!["b c.mrc", "2"])]);
    }

    #[test]
    fn keywords_are_bare_and_alone() {
        let text = "DATA_a\nLoop_\n_rlnImageName #1\n_rlnClassNumber\n_w/e.mrc 1\ndata_01/c.mrc 1\n\
                    'data_01/d.mrc' 1\nloop_ 'dog's'\n";
        let blocks = read(text).unwrap();
        assert_eq!((blocks.len(), blocks[0].name), (1, "a"));
        let rows: Vec<_> = blocks[0].rows.iter().map(|(_, row)| (row[0], row[1])).collect();
        assert_eq!(rows, [("_w/e.mrc", "1"), ("data_01/c.mrc", "1"), ("data_01/d.mrc", "1"), ("loop_", "dog's")]);
        // In quotes a keyword is a value, in a loop of one column as well.
        let blocks = read("data_\nloop_\n_a\n'data_x'\n'_b'\n").unwrap();
        assert_eq!(blocks[0].rows, [(4, vec!["data_x"]), (5, vec!["_b"])]);
    }

    #[test]
    fn slips_are_told_with_their_line() {
        for (text, message) in [
            ("a.mrc 1\n", "line 1: expected a data_ block, got `a.mrc`"),
            ("data_\nloop_\n_a\n_b\n1 2\n3\n", "line 6: expected 2 values, one for each column, got 1"),
            ("data_\nloop_\n_a\n_a\n", "line 4: the column _a a second time"),
            ("data_\nloop_\n_a\n1\nloop_\n", "line 5: a second table in the block `data_`"),
            ("data_x\n_a 1\nloop_\n", "line 3: a second table in the block `data_x`"),
            ("data_\n_a\n", "line 2: expected one value for _a, got 0"),
            ("data_\nword\n", "line 2: `word` belongs to no column"),
            ("data_\n'_a' 1\n", "line 2: `_a` belongs to no column"),
            ("data_\nloop_\n_a\n'x\n", "line 4: the quote ' does not end"),
        ] {
            assert_eq!(read(text).unwrap_err(), message, "{text:?}");
        }
    }
}
