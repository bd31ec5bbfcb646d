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
        let Some(&first) = words.first() else { continue };
        if let Some(name) = first.strip_prefix("data_") {
            blocks.push(Block { name, ..Default::default() });
            in_loop = false;
            continue;
        }
        let Some(block) = blocks.last_mut() else {
            return Err(format!("line {number}: expected a data_ block, got `{first}`"));
        };
        if first == "loop_" {
            if in_loop || !block.columns.is_empty() {
                return Err(format!("line {number}: a second table in the block `data_{}`", block.name));
            }
            in_loop = true;
        } else if let Some(column) = first.strip_prefix('_')
            && (!in_loop || block.rows.is_empty())
        {
            if block.columns.contains(&column) {
                return Err(format!("line {number}: the column _{column} a second time"));
            }
            block.columns.push(column);
            if !in_loop {
                let &[_, value] = words.as_slice() else {
                    return Err(format!("line {number}: expected one value for _{column}, got {}", words.len() - 1));
                };
                match block.rows.first_mut() {
                    Some((_, row)) => row.push(value),
                    None => block.rows.push((number, vec![value])),
                }
            }
        } else if !in_loop {
            return Err(format!("line {number}: `{first}` belongs to no column"));
        } else if words.len() != block.columns.len() {
            return Err(format!(
                "line {number}: expected {} values, one for each column, got {}",
                block.columns.len(),
                words.len()
            ));
        } else {
            block.rows.push((number, words));
        }
    }
    Ok(blocks)
}

/// Words between white space, or between quotes; `#` starts a comment, also behind a column's name.
fn words(line: &str) -> Result<Vec<&str>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '#' {
            break;
        }
        let (word, behind) = if first == '"' || first == '\'' {
            let inside = &rest[1..];
            let Some(end) = inside.find(first) else {
                return Err(format!("the quote {first} does not end"));
            };
            (&inside[..end], &inside[end + 1..])
        } else {
            rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()))
        };
        words.push(word);
        rest = behind.trim_start();
    }
    Ok(words)
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
    fn slips_are_told_with_their_line() {
        for (text, message) in [
            ("a.mrc 1\n", "line 1: expected a data_ block, got `a.mrc`"),
            ("data_\nloop_\n_a\n_b\n1 2\n3\n", "line 6: expected 2 values, one for each column, got 1"),
            ("data_\nloop_\n_a\n_a\n", "line 4: the column _a a second time"),
            ("data_\nloop_\n_a\n1\nloop_\n", "line 5: a second table in the block `data_`"),
            ("data_x\n_a 1\nloop_\n", "line 3: a second table in the block `data_x`"),
            ("data_\n_a\n", "line 2: expected one value for _a, got 0"),
            ("data_\nword\n", "line 2: `word` belongs to no column"),
            ("data_\nloop_\n_a\n'x\n", "line 4: the quote ' does not end"),
        ] {
            assert_eq!(read(text).unwrap_err(), message, "{text:?}");
        }
    }
}
