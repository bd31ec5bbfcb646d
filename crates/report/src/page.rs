//! A report as one HTML file: no network, no script, no second file.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::{Error, Result};

/// Light and dark by the reader's own preference; wide tables scroll by themselves.
const STYLE: &str = include_str!("page.css");

/// Nothing is fetched, whatever ends up in the text.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// A report in sections, with tables and pictures.
///
/// All text is escaped. Pictures are embedded as images, in which no script runs. They follow the reader's light or
/// dark theme, as the page does.
///
/// # Examples
/// ```
/// use soft_lmccl_report::{Page, Table, TableCell};
///
/// let mut page = Page::new("A study", "Two losses & one data set");
/// let table = Table {
///     caption: "AUC".to_owned(),
///     head: vec!["loss".to_owned(), "S1".to_owned()],
///     rows: vec![vec![TableCell::from("softmax"), TableCell::from("0.719").with_note("0.70 to 0.74")]],
/// };
/// page.section("Tables").text("Higher is better.").table(&table);
/// let html = page.to_html();
/// assert!(html.contains("Two losses &amp; one data set") && html.contains("0.70 to 0.74"));
/// ```
#[derive(Debug, Clone)]
pub struct Page {
    title: String,
    lead: String,
    sections: Vec<Section>,
}

/// One section of a [`Page`].
#[derive(Debug, Clone)]
pub struct Section {
    title: String,
    parts: Vec<Markup>,
}

/// A table of a [`Section`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Its title.
    pub caption: String,
    /// Headings of the columns.
    pub head: Vec<String>,
    /// Rows of one cell a column; the first is the heading.
    pub rows: Vec<Vec<TableCell>>,
}

/// One cell of a [`Table`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableCell {
    /// The text.
    pub text: String,
    /// Small print below the text, such as an interval.
    pub notes: Vec<String>,
    /// Set apart, as the best of a column.
    pub strong: bool,
}

impl<T: Into<String>> From<T> for TableCell {
    fn from(text: T) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

impl TableCell {
    /// The cell with one more line of small print.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// The cell, set apart if `strong`.
    #[must_use]
    pub fn strong_if(self, strong: bool) -> Self {
        Self { strong, ..self }
    }
}

impl Page {
    /// A page without sections; `lead` is one line about it.
    pub fn new(title: impl Into<String>, lead: impl Into<String>) -> Self {
        Self { title: title.into(), lead: lead.into(), sections: Vec::new() }
    }

    /// Begins a section.
    pub fn section(&mut self, title: impl Into<String>) -> &mut Section {
        self.sections.push(Section { title: title.into(), parts: Vec::new() });
        self.sections.last_mut().expect("the section was pushed above")
    }

    /// The whole page.
    pub fn to_html(&self) -> String {
        let anchor = |index: usize| format!("section-{}", index + 1);
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    header { h1 { (self.title) } p { (self.lead) } }
                    nav aria-label="Sections" {
                        @for (index, section) in self.sections.iter().enumerate() {
                            a href=(format!("#{}", anchor(index))) { (section.title) }
                        }
                    }
                    main {
                        @for (index, section) in self.sections.iter().enumerate() {
                            section id=(anchor(index)) {
                                h2 { (section.title) }
                                @for part in &section.parts { (part) }
                            }
                        }
                    }
                }
            }
        }
        .into_string()
    }

    /// Writes the page, all or nothing.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        soft_lmccl_files::write(path, self.to_html().as_bytes()).map_err(Error::io("write", path))
    }
}

impl Section {
    /// A paragraph.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.push(html! { p { (text) } })
    }

    /// Short lines, one below the other.
    pub fn list(&mut self, items: &[impl AsRef<str>]) -> &mut Self {
        self.push(html! { ul { @for item in items { li { (item.as_ref()) } } } })
    }

    /// Terms and what they mean, folded up until a reader asks for them.
    pub fn fold(&mut self, title: &str, terms: &[(&str, &str)]) -> &mut Self {
        self.push(html! {
            details { summary { (title) } dl { @for (term, meaning) in terms { dt { (term) } dd { (meaning) } } } }
        })
    }

    /// Text to be typed as it is, such as a command.
    pub fn code(&mut self, text: &str) -> &mut Self {
        self.push(html! { pre { code { (text) } } })
    }

    /// A table.
    pub fn table(&mut self, table: &Table) -> &mut Self {
        self.push(html! {
            div.scroll {
                table {
                    caption { (table.caption) }
                    thead { tr { @for name in &table.head { th scope="col" { (name) } } } }
                    tbody {
                        @for row in &table.rows {
                            tr {
                                @for (index, cell) in row.iter().enumerate() {
                                    @if index == 0 {
                                        th scope="row" { (cell_content(cell)) }
                                    } @else {
                                        td { (cell_content(cell)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        })
    }

    /// A picture that a function of this crate has drawn.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Format`] if it does not begin with an `<svg>` element.
    pub fn picture(&mut self, path: impl AsRef<Path>, caption: &str) -> Result<&mut Self> {
        let path = path.as_ref();
        let svg = fs::read(path).map_err(|source| Error::Io { action: "read", path: path.to_owned(), source })?;
        if !svg.starts_with(b"<svg ") {
            return Err(Error::Format { path: path.to_owned(), problem: "expected an SVG picture".to_owned() });
        }
        let data = format!("data:image/svg+xml;base64,{}", BASE64_STANDARD.encode(svg));
        Ok(self.push(html! {
            figure { div.scroll { img src=(data) alt=(caption); } figcaption { (caption) } }
        }))
    }

    fn push(&mut self, part: Markup) -> &mut Self {
        self.parts.push(part);
        self
    }
}

fn cell_content(cell: &TableCell) -> Markup {
    html! {
        @if cell.strong { strong { (cell.text) } } @else { (cell.text) }
        @for note in &cell.notes { small { (note) } }
    }
}
