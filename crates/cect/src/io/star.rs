//! The little of STAR that is needed: the tables of a file, with the lines of their rows, and further columns for one.

use std::collections::{HashMap, HashSet};

/// One block of a STAR file: its names, and its rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct StarTable<'a> {
    /// `particles` of `data_particles`; often empty.
    pub(crate) name: &'a str,
    /// Without the leading underscore.
    pub(crate) columns: Vec<&'a str>,
    /// Each with the number of its line, counted from 1.
    pub(crate) rows: Vec<(usize, Vec<&'a str>)>,
    /// The line of each column's name.
    column_lines: Vec<usize>,
    /// The columns once more, to find one that comes again.
    known: HashSet<&'a str>,
    /// Else a list of pairs.
    is_loop: bool,
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
pub(crate) fn read(text: &str) -> Result<Vec<StarTable<'_>>, String> {
    let mut blocks: Vec<StarTable<'_>> = Vec::new();
    let mut in_loop = false;
    for (number, line) in (1..).zip(text.lines()) {
        let words = words(line).map_err(|problem| format!("line {number}: {problem}"))?;
        let Some(first) = words.first() else { continue };
        let line = Line::of(&words);
        if let Line::Block(name) = line {
            blocks.push(StarTable { name, ..Default::default() });
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
            Line::Loop => (in_loop, block.is_loop) = (true, true),
            // Behind the first row, and with values behind it, it is a value that begins as a column does.
            Line::Column(column, values) if !in_loop || (block.rows.is_empty() && values.is_empty()) => {
                block.add_column(number, column).map_err(|problem| format!("line {number}: {problem}"))?;
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

impl<'a> StarTable<'a> {
    fn add_column(&mut self, number: usize, column: &'a str) -> Result<(), String> {
        if !self.known.insert(column) {
            return Err(format!("the column _{column} a second time"));
        }
        self.columns.push(column);
        self.column_lines.push(number);
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

/// The text that `block` was read from with these columns in its table, a value for each row: those that it has already
/// are replaced, the others come last. All other lines stay as they are; a list of pairs becomes a loop of one row.
///
/// # Errors
/// The first value that no word can hold.
pub(crate) fn with_columns<'v>(
    text: &str,
    block: &StarTable<'_>,
    columns: &'v [(&str, Vec<String>)],
) -> Result<String, &'v str> {
    with_columns_of(text, block, columns, &vec![true; block.rows.len()])
}

/// As [`with_columns`], of the rows only that are kept.
pub(crate) fn with_columns_of<'v>(
    text: &str,
    block: &StarTable<'_>,
    columns: &'v [(&str, Vec<String>)],
    kept: &[bool],
) -> Result<String, &'v str> {
    if let Some(value) = columns.iter().flat_map(|(_, column)| column).find(|value| as_word(value).is_none()) {
        return Err(value);
    }
    let mut names = block.columns.clone();
    let mut places = Vec::with_capacity(columns.len());
    for (name, _) in columns {
        let place = names.iter().position(|known| known.eq_ignore_ascii_case(name)).unwrap_or(names.len());
        if place == names.len() {
            names.push(name);
        }
        places.push(place);
    }
    let row = |index: usize| {
        let mut values = block.rows[index].1.clone();
        values.resize(names.len(), "");
        for (&place, (_, column)) in places.iter().zip(columns) {
            values[place] = &column[index];
        }
        // What the file has was a word there.
        let words = values.into_iter().map(|value| as_word(value).unwrap_or_else(|| value.to_owned()));
        words.collect::<Vec<_>>().join(" ")
    };
    let name = |place: usize| format!("_{} #{}", names[place], place + 1);
    let rows: HashMap<usize, usize> = block.rows.iter().enumerate().map(|(row, (line, _))| (*line, row)).collect();
    let mut lines: Vec<String> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        match (block.is_loop, rows.get(&number)) {
            (true, Some(&index)) => lines.extend(kept[index].then(|| row(index))),
            (false, _) if block.column_lines.binary_search(&number).is_ok() => {}
            _ => lines.push(line.to_owned()),
        }
        if block.column_lines.last() == Some(&number) {
            if block.is_loop {
                lines.extend((block.columns.len()..names.len()).map(name));
            } else {
                lines.push("loop_".to_owned());
                lines.extend((0..names.len()).map(name));
                lines.extend(kept[0].then(|| row(0)));
            }
        }
    }
    Ok(lines.join("\n") + "\n")
}

/// A value as one word of a line, in quotes where it would be read as something else without them.
fn as_word(value: &str) -> Option<String> {
    let reads = |text: &String| matches!(words(text).as_deref(), Ok([Word { text, .. }]) if *text == value);
    let keyword = starts(value, "data_") || starts(value, "loop_") || value.starts_with('_');
    let bare = (!keyword).then(|| value.to_owned());
    // Not every program takes a quote within quotes of its kind.
    let quotes = if value.contains('"') { ['\'', '"'] } else { ['"', '\''] };
    let quoted = quotes.map(|quote| format!("{quote}{value}{quote}"));
    bare.into_iter().chain(quoted).find(|text| reads(text) && !text.contains(['\n', '\r']))
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
    use super::{read, with_columns};

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
    fn columns_are_added_and_replaced_and_nothing_else_changes() {
        let text = "# version 30001\r\n\ndata_optics\n\nloop_\n_rlnVoltage #1\n300.0\n\ndata_particles # all\n\nloop_\n\
                    _rlnImageName #1\n# between\n_rlnClassNumber #2\n  a.mrc   1 # late\n\n\"b c.mrc\"  2\n\ndata_rest\n_x 1\n";
        let blocks = read(text).unwrap();
        let column = |values: [&str; 2]| values.map(str::to_owned).to_vec();
        let columns = [
            ("RLNClassNumber", column(["7", "0"])),
            ("score", column(["0.5", "-1"])),
            ("name", column(["data_x", "it's \"so\""])),
        ];
        let written = with_columns(text, &blocks[1], &columns).unwrap();
        assert_eq!(
            written,
            "# version 30001\n\ndata_optics\n\nloop_\n_rlnVoltage #1\n300.0\n\ndata_particles # all\n\nloop_\n\
             _rlnImageName #1\n# between\n_rlnClassNumber #2\n_score #3\n_name #4\na.mrc 7 0.5 \"data_x\"\n\n\
             \"b c.mrc\" 0 -1 'it's \"so\"'\n\ndata_rest\n_x 1\n"
        );
        let again = read(&written).unwrap();
        assert_eq!(again[1].columns, ["rlnImageName", "rlnClassNumber", "score", "name"]);
        assert_eq!(again[1].rows[1].1, ["b c.mrc", "0", "-1", "it's \"so\""]);
        assert_eq!((&again[0].rows[0].1, &again[2].rows[0].1), (&vec!["300.0"], &vec!["1"]));

        // One particle as a list of pairs.
        let text = "data_\n_rlnImageName a.mrc\n# between\n_rlnClassNumber 1\n\n";
        let blocks = read(text).unwrap();
        let columns = [("rlnClassNumber", vec!["4".to_owned()]), ("empty", vec![String::new()])];
        assert_eq!(
            with_columns(text, &blocks[0], &columns).unwrap(),
            "data_\n# between\nloop_\n_rlnImageName #1\n_rlnClassNumber #2\n_empty #3\na.mrc 4 \"\"\n\n"
        );
        for value in ["two\nlines", "both' \" quotes"] {
            assert_eq!(with_columns(text, &blocks[0], &[("name", vec![value.to_owned()])]), Err(value));
        }
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
