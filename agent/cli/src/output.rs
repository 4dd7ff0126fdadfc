//! Data to standard output: as a table, or as JSON or YAML with stable names.

use std::io::{self, Write};

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

use super::exit::{Error, Kind, is_broken_pipe};
use super::human;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Table,
    /// A table with more columns
    Wide,
    Json,
    Yaml,
}

/// What the command line says about output.
#[derive(Debug, Clone, Copy, clap::Args)]
#[group(skip)]
pub struct Args {
    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
    /// Leave the tables' headings out
    #[arg(long)]
    pub no_headers: bool,
}

/// Something that a command prints.
pub trait Show: Serialize {
    /// As text for people. Ends with a newline unless empty.
    fn text(&self, style: Style) -> String;

    /// What to tell people beside the data: on standard error, and only where
    /// the data isn't for a program.
    fn note(&self) -> Option<String> {
        None
    }
}

/// How much of a table to show.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    pub wide: bool,
    pub headers: bool,
}

/// Prints one thing.
pub fn print(shown: &impl Show, args: Args) -> Result<(), Error> {
    let text = match args.output {
        Format::Json => serde_json::to_string_pretty(shown)
            .map(|json| json + "\n")
            .map_err(odd)?,
        Format::Yaml => serde_saphyr::to_string(shown).map_err(odd)?,
        Format::Table | Format::Wide => {
            if let Some(note) = shown.note() {
                eprintln!("{note}");
            }
            shown.text(Style {
                wide: args.output == Format::Wide,
                headers: !args.no_headers,
            })
        }
    };
    write(&text)
}

/// Prints one thing of many: JSON on a line of its own, YAML as a document.
pub fn print_next(shown: &impl Show, args: Args) -> Result<(), Error> {
    match args.output {
        Format::Json => write(&(serde_json::to_string(shown).map_err(odd)? + "\n")),
        Format::Yaml => write(&format!(
            "---\n{}",
            serde_saphyr::to_string(shown).map_err(odd)?
        )),
        Format::Table | Format::Wide => print(shown, args),
    }
}

fn odd(why: impl std::fmt::Display) -> Error {
    Error::new(
        Kind::Failure,
        format!("the answer can't be written in this format: {why}"),
    )
}

pub(super) fn write(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|why| {
            if is_broken_pipe(&why) {
                Error::new(Kind::Enough, "")
            } else {
                Error::new(
                    Kind::Failure,
                    format!("can't write to standard output: {why}"),
                )
            }
        })
}

/// A column: its heading, whether only wide tables have it, and on which side
/// its cells stand.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    heading: &'static str,
    wide: bool,
    right: bool,
    left_out: bool,
}

pub const fn left(heading: &'static str) -> Column {
    Column {
        heading,
        wide: false,
        right: false,
        left_out: false,
    }
}

pub const fn right(heading: &'static str) -> Column {
    Column {
        heading,
        wide: false,
        right: true,
        left_out: false,
    }
}

impl Column {
    #[must_use]
    pub const fn only_wide(self) -> Column {
        Column { wide: true, ..self }
    }

    #[must_use]
    pub const fn only_if(self, shown: bool) -> Column {
        Column {
            left_out: !shown,
            ..self
        }
    }

    fn is_shown(&self, style: Style) -> bool {
        (style.wide || !self.wide) && !self.left_out
    }
}

/// Lays out rows that have a cell for every column. Without rows it is empty.
pub fn table(
    columns: impl IntoIterator<Item = Column>,
    rows: impl IntoIterator<Item = impl IntoIterator<Item = String>>,
    style: Style,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let columns: Vec<Column> = columns.into_iter().collect();
    let shown = columns.iter().filter(|column| column.is_shown(style));
    let kept: Vec<Column> = shown.copied().collect();
    let cell = |column: &Column, text: String| {
        let cell = Cell::new(text);
        if column.right {
            cell.set_alignment(CellAlignment::Right)
        } else {
            cell
        }
    };
    if style.headers {
        table.set_header(
            kept.iter()
                .map(|column| cell(column, column.heading.into())),
        );
    }
    let mut empty = true;
    for row in rows {
        empty = false;
        let cells = columns
            .iter()
            .zip(row)
            .filter(|(column, _)| column.is_shown(style));
        table.add_row(cells.map(|(column, text)| {
            cell(
                column,
                if text.is_empty() {
                    "-".into()
                } else {
                    human::clean(&text)
                },
            )
        }));
    }
    if empty {
        return String::new();
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n") + "\n"
}
