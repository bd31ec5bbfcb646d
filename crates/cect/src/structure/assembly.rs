//! Biological assemblies: which operators make a particle out of the chains of a file.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use super::{cif, cif::Categories};
use crate::{Error, Result, io::input};

/// A rotation and a translation in Angstrom, as files write them: `x' = matrix · x + shift`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Operator {
    pub(crate) matrix: [[f64; 3]; 3],
    pub(crate) shift: [f64; 3],
}

impl Operator {
    const IDENTITY: Self = Self { matrix: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], shift: [0.0; 3] };

    pub(crate) fn apply(&self, position: [f64; 3]) -> [f64; 3] {
        std::array::from_fn(|row| {
            let [x, y, z] = self.matrix[row];
            x * position[0] + y * position[1] + z * position[2] + self.shift[row]
        })
    }

    /// First `other`, then `self`.
    /// The same for operators that differ by the rounding of a product.
    fn key(&self) -> [i64; 12] {
        let numbers = self.matrix.into_iter().flatten().chain(self.shift);
        let mut key = [0; 12];
        key.iter_mut().zip(numbers).for_each(|(key, number)| *key = (number * 1e6).round() as i64);
        key
    }

    fn after(&self, other: &Self) -> Self {
        Self {
            matrix: std::array::from_fn(|row| {
                std::array::from_fn(|column| (0..3).map(|k| self.matrix[row][k] * other.matrix[k][column]).sum())
            }),
            shift: self.apply(other.shift),
        }
    }
}

/// A biological assembly: groups of chains, each with the operators that copy it.
///
/// For atoms of the user's, see [`Structure::from_atoms`](crate::Structure::from_atoms);
/// [`Structure::open`](crate::Structure::open) reads it itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Assembly {
    pub(super) id: String,
    pub(super) groups: Vec<Group>,
    /// How many different operators the groups have.
    pub(super) operators: usize,
}

impl Assembly {
    /// Checks that no chain goes through one operator twice, in whatever rows the file says so: a copy on top of a copy is no
    /// part of a particle, and a few bytes would ask for thousands of copies.
    fn new(id: &str, groups: Vec<Group>) -> Result<Self, String> {
        let copies: usize = groups.iter().map(|group| group.chains.len().saturating_mul(group.operators.len())).sum();
        if copies > MAX_COPIES {
            return Err(format!("assembly {id} has {copies} copies of chains; expected {MAX_COPIES} at most"));
        }
        let mut operators = HashMap::new();
        let mut seen = HashSet::with_capacity(copies);
        for group in &groups {
            for operator in &group.operators {
                let next = operators.len();
                let number = *operators.entry(operator.key()).or_insert(next);
                if !group.chains.iter().all(|chain| seen.insert((chain.as_str(), number))) {
                    return Err(format!(
                        "assembly {id} applies one operator twice to the same chains; expected each once"
                    ));
                }
            }
        }
        let operators = operators.len();
        Ok(Self { id: id.to_owned(), groups, operators })
    }

    /// Reads assembly 1 of a PDB or mmCIF file, else the first that it names; `None` if it names none. The file may be
    /// compressed with gzip, and its atoms are not looked at. Of a `.pdb1` file, whose models are one particle, it knows
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read; [`Error::Format`] if it is neither PDB nor mmCIF, or its assembly
    /// cannot be built.
    ///
    /// # Examples
    /// ```
    /// use soft_lmccl_cect::Assembly;
    ///
    /// let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/structures/dimer.cif");
    /// let assembly = Assembly::open(path)?.expect("an assembly");
    /// assert_eq!(assembly.id(), "1");
    /// assert_eq!(assembly.chains().collect::<Vec<_>>(), ["A", "B"]);
    /// # Ok::<(), soft_lmccl_cect::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Option<Self>> {
        let path = path.as_ref();
        let text = input::read_text(path)?;
        let assembly = if cif::looks_like(&text) {
            cif::read(&text, &MMCIF_CATEGORIES).and_then(|block| from_mmcif(&block))
        } else if ["REMARK", "HEADER", "ATOM", "HETATM"]
            .iter()
            .any(|record| text.lines().any(|line| line.starts_with(record)))
        {
            from_remark_350(&text)
        } else {
            Err("neither mmCIF nor PDB: no data_ block and no record of a PDB file".to_owned())
        };
        assembly.map_err(|problem| Error::Format { path: path.to_owned(), problem })
    }

    /// Its name in the file, almost always `1`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The chains that it speaks of, in the order of the file.
    pub fn chains(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().flat_map(|group| &group.chains).map(String::as_str)
    }
}

/// Chains and the operators that each of them goes through.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    pub(crate) chains: Vec<String>,
    pub(crate) operators: Vec<Operator>,
}

/// More operators than any entry of the PDB has; a file that asks for more is damaged or hostile.
const MAX_OPERATORS: usize = 20_000;

/// More copies of chains than any entry of the PDB has.
const MAX_COPIES: usize = 2_000_000;

/// The categories that [`from_mmcif`] reads.
pub(crate) const MMCIF_CATEGORIES: [&str; 2] = ["_pdbx_struct_assembly_gen", "_pdbx_struct_oper_list"];

/// Assembly 1 of an mmCIF file, else the first that it lists; `None` if it lists none.
pub(crate) fn from_mmcif(block: &Categories<'_>) -> Result<Option<Assembly>, String> {
    let [generators, operators] = MMCIF_CATEGORIES.map(|name| block.get(name));
    let Some(generators) = generators else {
        return Ok(None);
    };
    let generators = generators
        .rows(["assembly_id", "oper_expression", "asym_id_list"])
        .ok_or("_pdbx_struct_assembly_gen lacks assembly_id, oper_expression or asym_id_list")?;
    let listed: HashMap<&str, [&str; 13]> = operators
        .and_then(|table| {
            table.rows([
                "id",
                "matrix[1][1]",
                "matrix[1][2]",
                "matrix[1][3]",
                "vector[1]",
                "matrix[2][1]",
                "matrix[2][2]",
                "matrix[2][3]",
                "vector[2]",
                "matrix[3][1]",
                "matrix[3][2]",
                "matrix[3][3]",
                "vector[3]",
            ])
        })
        .ok_or("the file names assemblies but lacks their operators, _pdbx_struct_oper_list")?
        .map(|row| (row[0], row))
        .collect();
    let Some(id) = first_assembly(generators.clone().map(|row| row[0])) else {
        return Ok(None);
    };
    let mut groups = Vec::new();
    let mut total = 0;
    for [assembly, expression, chains] in generators {
        if assembly != id {
            continue;
        }
        let products = expand(expression)?;
        total += products.len();
        if total > MAX_OPERATORS {
            return Err(format!("assembly {id} has more than {MAX_OPERATORS} operators"));
        }
        let operators = products.iter().map(|names| product(names, &listed)).collect::<Result<Vec<_>, _>>()?;
        groups.push(Group { chains: names(chains), operators });
    }
    Assembly::new(id, groups).map(Some)
}

fn first_assembly<'a>(mut ids: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let first = ids.clone().next();
    ids.find(|id| *id == "1").or(first)
}

fn names(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Multiplies the operators of one product; the rightmost acts first.
fn product(names: &[String], listed: &HashMap<&str, [&str; 13]>) -> Result<Operator, String> {
    names.iter().try_fold(Operator::IDENTITY, |done, name| {
        let row = listed
            .get(name.as_str())
            .ok_or_else(|| format!("the assembly asks for operator {name}, which is not listed"))?;
        let mut numbers = [0.0; 12];
        for (number, text) in numbers.iter_mut().zip(&row[1..]) {
            *number =
                finite(text).ok_or_else(|| format!("operator {name} holds `{text}` where a number is expected"))?;
        }
        Ok(done.after(&from_rows(numbers)))
    })
}

/// Twelve numbers, a row of the matrix and its shift at a time.
fn from_rows(numbers: [f64; 12]) -> Operator {
    Operator {
        matrix: std::array::from_fn(|row| std::array::from_fn(|k| numbers[4 * row + k])),
        shift: std::array::from_fn(|row| numbers[4 * row + 3]),
    }
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Expands an operator expression into products of operator names: `1`, `1,2,3`, `(1-60)`,
/// `(1,2)(X0-X4)`, `P`. Groups in brackets multiply, a list outside brackets stands for itself.
pub(crate) fn expand(expression: &str) -> Result<Vec<Vec<String>>, String> {
    let bad = || format!("operator expression `{expression}` cannot be read");
    let expression = expression.trim();
    let mut products: Vec<Vec<String>> = vec![Vec::new()];
    let mut rest = expression;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let (list, after) = if let Some(inner) = rest.strip_prefix('(') {
            inner.split_once(')').ok_or_else(bad)?
        } else {
            let end = rest.find('(').unwrap_or(rest.len());
            rest.split_at(end)
        };
        rest = after.trim_start();
        let factors = expand_list(list).ok_or_else(bad)?;
        let mut seen = HashSet::new();
        if let Some(name) = factors.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(format!("operator expression `{expression}` names operator {name} twice in one list"));
        }
        if products.len().saturating_mul(factors.len()) > MAX_OPERATORS {
            return Err(format!("operator expression `{expression}` makes more than {MAX_OPERATORS} operators"));
        }
        products = products
            .iter()
            .flat_map(|product| {
                factors.iter().map(move |factor| {
                    let mut longer = product.clone();
                    longer.push(factor.clone());
                    longer
                })
            })
            .collect();
    }
    Ok(products)
}

fn expand_list(list: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for part in list.split(',').map(str::trim) {
        if part.is_empty() || part.contains([')', '(']) {
            return None;
        }
        match part.split_once('-') {
            Some((first, last)) => {
                // A range may carry a prefix: X0-X4.
                let digits = |text: &str| text.find(|c: char| c.is_ascii_digit());
                let (prefix, first) = first.trim().split_at(digits(first.trim())?);
                let last = last.trim().strip_prefix(prefix)?;
                let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
                if last < first || last - first > MAX_OPERATORS {
                    return None;
                }
                names.extend((first..=last).map(|number| format!("{prefix}{number}")));
            }
            None => names.push(part.to_owned()),
        }
    }
    Some(names)
}

/// Biomolecule 1 of a PDB file's REMARK 350, else the first one; `None` if there is no such remark.
pub(crate) fn from_remark_350(text: &str) -> Result<Option<Assembly>, String> {
    let mut assemblies: Vec<Assembly> = Vec::new();
    let mut rows: Vec<[f64; 4]> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Some(remark) = line.strip_prefix("REMARK 350") else {
            continue;
        };
        let bad = |what: &str| format!("line {}: REMARK 350 {what}", number + 1);
        let remark = remark.trim();
        if let Some(id) = remark.strip_prefix("BIOMOLECULE:") {
            // One heading may number several: "BIOMOLECULE: 1, 2".
            let id = id.split(',').next().unwrap_or_default().trim();
            assemblies.push(Assembly { id: id.to_owned(), groups: Vec::new(), operators: 0 });
        } else if let Some((heading, chains)) = remark.split_once("CHAINS:") {
            let assembly = assemblies.last_mut().ok_or_else(|| bad("names chains before any BIOMOLECULE"))?;
            if heading.trim_start().starts_with("APPLY") {
                assembly.groups.push(Group { chains: Vec::new(), operators: Vec::new() });
            }
            assembly
                .groups
                .last_mut()
                .ok_or_else(|| bad("continues a list of chains that has no beginning"))?
                .chains
                .extend(names(chains));
        } else if remark.starts_with("BIOMT") {
            let mut words = remark.split_whitespace();
            let row = words.next().and_then(|word| word[5..].parse::<usize>().ok());
            let numbers: Vec<f64> = words.skip(1).map_while(finite).collect();
            let (Some(row @ 1..=3), &[a, b, c, shift]) = (row, numbers.as_slice()) else {
                return Err(bad("holds a BIOMT row without its number and four values"));
            };
            if row != rows.len() + 1 {
                return Err(bad("holds BIOMT rows out of order"));
            }
            rows.push([a, b, c, shift]);
            if let &[first, second, third] = rows.as_slice() {
                let group = assemblies
                    .last_mut()
                    .and_then(|assembly| assembly.groups.last_mut())
                    .ok_or_else(|| bad("holds an operator before the chains it applies to"))?;
                if group.operators.len() == MAX_OPERATORS {
                    return Err(bad(&format!("holds more than {MAX_OPERATORS} operators")));
                }
                let mut numbers = [0.0; 12];
                numbers[..4].copy_from_slice(&first);
                numbers[4..8].copy_from_slice(&second);
                numbers[8..].copy_from_slice(&third);
                group.operators.push(from_rows(numbers));
                rows.clear();
            }
        }
    }
    assemblies.retain(|assembly| !assembly.groups.is_empty());
    let position = assemblies.iter().position(|assembly| assembly.id == "1").unwrap_or(0);
    if assemblies.is_empty() {
        return Ok(None);
    }
    let Assembly { id, groups, .. } = assemblies.swap_remove(position);
    Assembly::new(&id, groups).map(Some)
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::{Operator, expand};

    #[test]
    fn operator_expressions_expand() {
        let names = |expression: &str| -> Vec<String> {
            expand(expression).expect("a valid expression").iter().map(|product| product.join("*")).collect()
        };
        assert_eq!(names("1"), ["1"]);
        assert_eq!(names("P"), ["P"]);
        assert_eq!(names("1,2,5-7"), ["1", "2", "5", "6", "7"]);
        assert_eq!(names("(1-60)").len(), 60);
        assert_eq!(names("(X0)(1-3)"), ["X0*1", "X0*2", "X0*3"]);
        assert_eq!(names("(X0-X1)(2,4)"), ["X0*2", "X0*4", "X1*2", "X1*4"]);
        assert_eq!(names("P(1-2)"), ["P*1", "P*2"]);
        for bad in ["", "(1", "1)", "(3-1)", "1,,2", "(A-B)", "()", "X1-Y3"] {
            let message = expand(bad).expect_err("a bad expression");
            assert!(message.contains("cannot be read"), "{bad}: {message}");
        }
        let message = expand("(1-9999)(1-9999)(1-9999)").expect_err("too many");
        assert!(message.contains("more than 20000 operators"), "{message}");
    }

    #[test]
    fn rightmost_operator_acts_first() {
        let quarter_turn = Operator { matrix: [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], shift: [0.0; 3] };
        let step = Operator { shift: [10.0, 0.0, 0.0], ..Operator::IDENTITY };
        let moved = quarter_turn.after(&step).apply([1.0, 0.0, 0.0]);
        assert_abs_diff_eq!(moved[..], [0.0, 11.0, 0.0][..]);
        let moved = step.after(&quarter_turn).apply([1.0, 0.0, 0.0]);
        assert_abs_diff_eq!(moved[..], [10.0, 1.0, 0.0][..]);
    }
}
