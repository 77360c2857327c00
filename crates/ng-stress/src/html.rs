//! What every report page of ours shares: the style, head and foot, sections, tables and figures, and text from outside
//! made harmless. A page is one file: it loads nothing and runs no script. Knows std alone: benches, which may not
//! import this crate, include the file.

use std::fmt::Write;

/// Colours are named by what they mean and have a value each for light and dark; text on each ground is AA in both.
const STYLE: &str = include_str!("html/style.css");

/// One part of a page, with a heading of its own and a line in the contents.
#[derive(Debug)]
pub struct Section {
    /// Unique in the page; a link ends in it.
    pub id: String,
    /// Of the heading. Plain text.
    pub title: String,
    /// Markup.
    pub body: String,
}

impl Section {
    /// A section whose `body` is markup.
    pub fn new(id: impl Into<String>, title: impl Into<String>, body: impl Into<String>) -> Self {
        Self { id: id.into(), title: title.into(), body: body.into() }
    }
}

/// The whole document. `title` is plain text, `lead` the markup of the first screen.
pub fn document(title: &str, lead: &str, sections: &[Section]) -> String {
    let title = escape(title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{lead}\n"
    );
    page.push_str("<nav aria-label=\"Contents\">\n<ul>\n");
    for Section { id, title, .. } in sections {
        put(&mut page, format_args!("<li><a href=\"#{}\">{}</a></li>", escape(id), escape(title)));
    }
    page.push_str("</ul>\n</nav>\n");
    for Section { id, title, body } in sections {
        let (id, title) = (escape(id), escape(title));
        put(
            &mut page,
            format_args!(
                "<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{title}</h2>\n{body}\n</section>"
            ),
        );
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// What stands in a cell of a table.
#[derive(Clone, Debug)]
pub enum Cell {
    /// Plain text.
    Text(String),
    /// Plain text that is a figure: aligned to the right.
    Figure(String),
    /// Markup.
    Markup(String),
}

/// Plain text.
pub fn text(words: impl Into<String>) -> Cell {
    Cell::Text(words.into())
}

/// A figure.
pub fn number(words: impl Into<String>) -> Cell {
    Cell::Figure(words.into())
}

/// A table in a box of its own, which scrolls sideways where the page is narrow. `caption` and `head` are plain text; the
/// first cell of each row names it. A row longer than `head` is cut.
pub fn table(caption: &str, head: &[&str], rows: &[Vec<Cell>]) -> String {
    let caption = escape(caption);
    // A box that scrolls must be reachable by keyboard, and then it needs a name.
    let mut out = format!(
        "<div class=\"wide\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\">\n<table>\n\
         <caption>{caption}</caption>\n<thead><tr>"
    );
    for (column, name) in head.iter().enumerate() {
        let is_figure = |row: &Vec<Cell>| matches!(row.get(column), Some(Cell::Figure(_)));
        let class = if rows.iter().any(is_figure) { " class=\"n\"" } else { "" };
        out.push_str(&format!("<th scope=\"col\"{class}>{}</th>", escape(name)));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for (column, cell) in row.iter().take(head.len()).enumerate() {
            out.push_str(&cell_markup(cell, column == 0));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</div>");
    out
}

fn cell_markup(cell: &Cell, names_the_row: bool) -> String {
    let (class, inside) = match cell {
        Cell::Text(words) => ("", escape(words)),
        Cell::Figure(words) => (" class=\"n\"", escape(words)),
        Cell::Markup(markup) => ("", markup.clone()),
    };
    if names_the_row {
        format!("<th scope=\"row\"{class}>{inside}</th>")
    } else {
        format!("<td{class}>{inside}</td>")
    }
}

/// A paragraph of plain text.
pub fn paragraph(words: &str) -> String {
    format!("<p>{}</p>\n", escape(words))
}

/// Commands that repeat what the page shows, a line each; they can be copied as they stand.
pub fn repeat(lines: &[String]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| unbroken(line)).collect();
    let lines = lines.join("\n");
    format!("<p>To repeat it, in the project's folder:</p>\n<pre><code>{lines}</code></pre>\n")
}

/// A line that breaks between a flag and the next, and not within one.
fn unbroken(line: &str) -> String {
    let words = line.split(" --").enumerate().map(|(place, words)| {
        let dashes = if place == 0 { "" } else { "--" };
        format!("<span class=\"word\">{dashes}{}</span>", escape(words))
    });
    words.collect::<Vec<_>>().join(" ")
}

/// How a verdict looks, beside its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// It holds.
    Good,
    /// It does not.
    Bad,
    /// Nothing was decided.
    Open,
}

impl Tone {
    /// The class that the style knows.
    pub fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Open => "open",
        }
    }
}

/// A verdict in a coloured field. The words say it too: colour alone tells nothing to some.
pub fn verdict(tone: Tone, words: &str) -> Cell {
    let class = tone.class();
    Cell::Markup(format!("<span class=\"mark {class}\">{}</span>", escape(words)))
}

/// Text from outside, for use between tags and inside of quoted attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Control characters are no part of HTML, whatever a file of the kernel holds.
            letter if letter.is_control() && letter != '\n' => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

fn put(page: &mut String, markup: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(page, "{markup}");
}

/// What is wrong with the form of a page: for the tests of every page.
#[cfg(test)]
#[path = "html/form.rs"]
pub mod form;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_only_text() {
        let wild = "<script>alert('x & \"y\"')</script>\u{1b}[31m";
        let tame = escape(wild);
        assert_eq!(
            tame,
            "&lt;script&gt;alert(&#39;x &amp; &quot;y&quot;&#39;)&lt;/script&gt;\u{fffd}[31m"
        );
        let rows = [vec![text(wild), number(wild), verdict(Tone::Bad, wild)]];
        let body = paragraph(wild) + &table(wild, &[wild, wild, wild], &rows);
        let page = document(wild, "", &[Section::new("a", wild, body)]);
        assert!(!page.contains("<script"));
        assert_eq!(form::faults(&page), Vec::<String>::new());
    }

    #[test]
    fn a_command_can_be_copied_from_the_page_as_it_is() {
        let line = unbroken("cargo xtask stress --tokens 5 --dir '/a <b> --c'");
        let copied = line.replace("<span class=\"word\">", "").replace("</span>", "");
        assert_eq!(copied, "cargo xtask stress --tokens 5 --dir &#39;/a &lt;b&gt; --c&#39;");
    }

    #[test]
    fn a_column_of_figures_is_aligned_as_one_and_the_first_cell_names_its_row() {
        let table = table("t", &["name", "ns"], &[vec![text("a"), number("1")]]);
        assert!(table.contains("<th scope=\"col\" class=\"n\">ns</th>"));
        assert!(table.contains("<th scope=\"row\">a</th><td class=\"n\">1</td>"));
    }

    #[test]
    fn the_style_has_a_dark_half_and_a_printed_one_and_loads_nothing() {
        for part in ["prefers-color-scheme: dark", "@media print"] {
            assert!(STYLE.contains(part), "{part}");
        }
        for loader in ["url(", "@import", "http"] {
            assert!(!STYLE.contains(loader), "{loader}");
        }
    }
}
