//! A strict reader of our own pages, for tests: every tag closed in order, attributes quoted, one `h1`, headings in
//! order, tables and drawings with names. Far from all of HTML: a page of ours uses little of it.

use std::collections::HashSet;

/// Elements without an end.
const VOID: [&str; 2] = ["meta", "br"];

/// All that is wrong with `page`; nothing for a good one.
pub fn faults(page: &str) -> Vec<String> {
    let mut reader = Reader::default();
    let mut rest = page.strip_prefix("<!doctype html>").unwrap_or_else(|| {
        reader.faults.push("no doctype".into());
        page
    });
    while let Some(start) = rest.find('<') {
        reader.text(&rest[..start]);
        // Style has rules of its own, with `>` in them.
        if reader.open.last().is_some_and(|name| name == "style")
            && !rest[start..].starts_with("</style>")
        {
            reader.faults.push("`<` in the style".into());
            break;
        }
        let Some(end) = rest[start..].find('>') else {
            reader.faults.push(format!("a tag without end: {}", &rest[start..]));
            break;
        };
        reader.tag(&rest[start + 1..start + end]);
        rest = &rest[start + end + 1..];
    }
    reader.end()
}

/// Whether a drawing has words for those who do not see it, or others beside it have them.
fn is_told<'a>(value: &impl Fn(&str) -> Option<&'a str>) -> bool {
    let is_named = || {
        value("role") == Some("img") && value("aria-label").is_some_and(|label| !label.is_empty())
    };
    value("aria-hidden") == Some("true") || is_named()
}

#[derive(Default)]
struct Reader {
    open: Vec<String>,
    ids: HashSet<String>,
    links: Vec<String>,
    headings: Vec<u32>,
    figures_without_caption: i32,
    tables_without_caption: i32,
    titles: u32,
    faults: Vec<String>,
}

impl Reader {
    fn text(&mut self, text: &str) {
        if text.contains('>') && self.open.last().is_none_or(|name| name != "style") {
            self.faults.push(format!("a bare `>` in {text:?}"));
        }
    }

    fn tag(&mut self, tag: &str) {
        if let Some(name) = tag.strip_prefix('/') {
            let open = self.open.pop();
            if open.as_deref() != Some(name) {
                self.faults.push(format!("</{name}> where {open:?} is open"));
            }
            return;
        }
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        let is_closed = attributes.ends_with('/');
        let attributes = self.attributes(tag, attributes.trim_end_matches('/'));
        self.element(name, &attributes);
        if !VOID.contains(&name) && !is_closed {
            self.open.push(name.to_owned());
        }
    }

    fn attributes(&mut self, tag: &str, mut rest: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        while !rest.trim().is_empty() {
            let Some((name, after)) = rest.trim_start().split_once("=\"") else {
                // The only attribute of ours without a value.
                if rest.trim() != "open" {
                    self.faults.push(format!("an attribute that is not quoted in <{tag}>"));
                }
                break;
            };
            let Some((value, after)) = after.split_once('"') else {
                self.faults.push(format!("a quote without end in <{tag}>"));
                break;
            };
            found.push((name.to_owned(), value.to_owned()));
            rest = after;
        }
        found
    }

    fn element(&mut self, name: &str, attributes: &[(String, String)]) {
        let value = |wanted: &str| {
            attributes.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
        };
        let mut wrong = Vec::new();
        if let Some(id) = value("id")
            && !self.ids.insert(id.to_owned())
        {
            wrong.push(format!("the id {id} twice"));
        }
        match name {
            "html" if value("lang").is_none() => wrong.push("no language".into()),
            "th" if value("scope").is_none() => wrong.push("a th without scope".into()),
            "svg" if !is_told(&value) => {
                wrong.push("a drawing without a text alternative".into());
            }
            "a" => self.links.extend(value("href").map(str::to_owned)),
            "title" => self.titles += 1,
            "figure" => self.figures_without_caption += 1,
            "figcaption" => self.figures_without_caption -= 1,
            "table" => self.tables_without_caption += 1,
            "caption" => self.tables_without_caption -= 1,
            "script" | "link" | "img" | "iframe" => wrong.push(format!("<{name}>")),
            _ => {}
        }
        if attributes.iter().any(|(name, _)| name.starts_with("on") || name == "src") {
            wrong.push(format!("<{name}> runs or loads something"));
        }
        if let Some(level) = name.strip_prefix('h').and_then(|level| level.parse().ok()) {
            let before = self.headings.last().copied().unwrap_or(0);
            if level > before + 1 {
                wrong.push(format!("a heading of level {level} after one of {before}"));
            }
            self.headings.push(level);
        }
        self.faults.extend(wrong);
    }

    fn end(mut self) -> Vec<String> {
        for name in &self.open {
            self.faults.push(format!("<{name}> is never closed"));
        }
        for link in &self.links {
            let is_there = link.strip_prefix('#').is_some_and(|id| self.ids.contains(id));
            if !is_there {
                self.faults.push(format!("a link to {link}, which is not in the page"));
            }
        }
        let counts = [
            ("h1", self.headings.iter().filter(|level| **level == 1).count() as i32, 1),
            ("title", self.titles as i32, 1),
            ("figures without caption", self.figures_without_caption, 0),
            ("tables without caption", self.tables_without_caption, 0),
        ];
        for (what, found, expected) in counts {
            if found != expected {
                self.faults.push(format!("{what}: found {found}, expected {expected}"));
            }
        }
        self.faults
    }
}

#[cfg(test)]
mod tests {
    use super::faults;

    /// A page with `body`, and what is found in it.
    fn found(body: &str) -> String {
        let head = "<!doctype html><html lang=\"en\"><head><title>t</title></head><body><h1>t</h1>";
        faults(&format!("{head}{body}</body></html>")).join("; ")
    }

    #[test]
    fn each_fault_of_form_is_found() {
        assert_eq!(found("<p>good<br>text</p><svg aria-hidden=\"true\"><rect x=\"1\"/></svg>"), "");
        for (body, expected) in [
            ("<p>", "</body> where"),
            ("<b><i></b></i>", "</b> where"),
            ("<p class=x></p>", "not quoted"),
            ("a > b", "a bare `>`"),
            ("<h3>x</h3>", "level 3 after one of 1"),
            ("<h1>x</h1>", "h1: found 2"),
            ("<th>x</th>", "without scope"),
            ("<svg></svg>", "text alternative"),
            ("<figure></figure>", "figures without caption: found 1"),
            ("<table></table>", "tables without caption: found 1"),
            ("<i id=\"a\"></i><i id=\"a\"></i>", "twice"),
            ("<a href=\"#b\">x</a>", "not in the page"),
            ("<script></script>", "<script>"),
            ("<p onclick=\"x\"></p>", "runs or loads"),
        ] {
            let found = found(body);
            assert!(found.contains(expected), "{body}: {found}");
        }
    }
}
