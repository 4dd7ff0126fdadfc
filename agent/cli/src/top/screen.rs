//! One table after the other, for people or for programs.
//!
//! Comes in: answers, and that none came. Goes out: on a terminal a table that is drawn
//! over the former one and cut to the screen; elsewhere each table below a line that
//! parts it from the one before. Never leaves an old table without saying that it is.

use std::io::{self, IsTerminal};
use std::time::Duration;

use super::Answer;
use crate::exit::Error;
use crate::human;
use crate::output::{self, Format, Show, Style};

/// To the upper left corner; all from the cursor on is empty.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
const CLEAR_ALL: &str = "\x1b[2J";

pub struct Screen {
    output: output::Args,
    in_place: bool,
    /// What stands on the terminal.
    last: Option<Answer>,
    lost: bool,
    drawn: bool,
}

impl Screen {
    pub fn new(output: output::Args) -> Screen {
        let for_people = matches!(output.output, Format::Table | Format::Wide);
        Screen {
            output,
            in_place: for_people && io::stdout().is_terminal(),
            last: None,
            lost: false,
            drawn: false,
        }
    }

    pub fn answered(&mut self, answer: Answer) -> Result<(), Error> {
        let header = answer.header();
        let time = header.time.as_deref().unwrap_or("-");
        let said = format!("{time}, as {} sees it", header.node);
        if std::mem::take(&mut self.lost) && !self.in_place {
            eprintln!("Going on with {}.", header.node);
        }
        if self.in_place {
            let text = format!("{said}; Ctrl-C ends this\n{}", text(&answer, self.output));
            self.last = Some(answer);
            return self.draw(&text);
        }
        if matches!(self.output.output, Format::Table | Format::Wide) {
            output::write(&format!("--- {said}\n"))?;
        }
        output::print_next(&answer, self.output)
    }

    /// No agent has answered for so long.
    pub fn lost(&mut self, since: Duration, why: &Error) -> Result<(), Error> {
        let lost = std::mem::replace(&mut self.lost, true);
        if !self.in_place {
            if !lost {
                eprintln!("Lost: {}", why.message);
            }
            return Ok(());
        }
        let age = human::age(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        let former = self.last.as_ref().map(|last| text(last, self.output));
        let text = format!(
            "STALE: no agent has answered for {age}; all below is from before\n{}\n{}",
            why.message,
            former.unwrap_or_default()
        );
        self.draw(&text)
    }

    fn draw(&mut self, text: &str) -> Result<(), Error> {
        // A terminal without a window, as a container's may be, says that it has no size.
        let size = crossterm::terminal::size().ok();
        let size = size.filter(|(columns, lines)| *columns > 0 && *lines > 0);
        let (columns, lines) = size.unwrap_or((80, 24));
        let clear = if std::mem::replace(&mut self.drawn, true) {
            ""
        } else {
            CLEAR_ALL
        };
        let frame = frame(text, columns.into(), lines.into());
        output::write(&format!("{clear}{frame}"))
    }
}

fn text(answer: &Answer, output: output::Args) -> String {
    let table = answer.text(Style {
        wide: output.output == Format::Wide,
        headers: !output.no_headers,
    });
    // Above the table: what doesn't fit on the screen is cut at the end, and a caution
    // must not be.
    match answer.note() {
        Some(note) => format!("{note}\n{table}"),
        None => table,
    }
}

/// `text`, drawn over what stands on a screen of this size. What doesn't fit is left
/// out, and the lowest line says so.
fn frame(text: &str, columns: usize, lines: usize) -> String {
    // The cursor stands below the last one.
    let room = lines.saturating_sub(1).max(1);
    let all: Vec<&str> = text.lines().collect();
    let shown = if all.len() > room {
        room - 1
    } else {
        all.len()
    };
    let mut drawn = String::from(HOME);
    let mut line = |words: &str| {
        drawn.extend(words.chars().take(columns));
        drawn.push_str(CLEAR_LINE);
        drawn.push('\n');
    };
    all[..shown].iter().copied().for_each(&mut line);
    if shown < all.len() {
        line(&format!(
            "({} more lines; --filter shows fewer)",
            all.len() - shown
        ));
    }
    drawn + CLEAR_BELOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_drawn_over_the_former_one_and_cut_to_the_screen() {
        let seen = frame("NAME  CPU\na\nb\n", 4, 4).replace('\x1b', "^");
        assert_eq!(seen, "^[HNAME^[K\na^[K\nb^[K\n^[J");
        let seen = frame("NAME\na\nb\nc\nd\n", 40, 4).replace('\x1b', "^");
        assert_eq!(
            seen,
            "^[HNAME^[K\na^[K\n(3 more lines; --filter shows fewer)^[K\n^[J"
        );
        // Whatever the terminal says of itself.
        assert!(frame("a\nb\n", 0, 0).ends_with(CLEAR_BELOW));
    }
}
