//! Puts the view where it belongs: redrawn in place on a terminal, one line a
//! second elsewhere. Gives the cursor back whatever happens.

use std::io::{self, IsTerminal, Write};

use crossterm::cursor::{Hide, MoveToPreviousLine, Show};
use crossterm::queue;
use crossterm::terminal::{self, Clear, ClearType};

use super::State;
use super::frame::{COLUMNS_MIN, Paint, ROWS_MIN, frame};

/// Where the view goes: the terminal or file behind standard output, or behind
/// standard error where standard output is kept for JSON.
pub struct Screen {
    out: Box<dyn Write + Send>,
    live: bool,
    paint: Paint,
    /// Lines of the frame on the terminal, to be drawn over.
    drawn: u16,
    /// Events that plain lines have told already, of all that ever were.
    told: usize,
}

impl Screen {
    pub fn stdout() -> Screen {
        Screen::new(Box::new(io::stdout()), io::stdout().is_terminal())
    }

    pub fn stderr() -> Screen {
        Screen::new(Box::new(io::stderr()), io::stderr().is_terminal())
    }

    fn new(out: Box<dyn Write + Send>, terminal: bool) -> Screen {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let paint = if no_color { Paint::None } else { Paint::Ansi };
        Screen {
            out,
            live: terminal && !dumb,
            paint,
            drawn: 0,
            told: 0,
        }
    }

    /// A line that stays, above the view.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        self.wipe()?;
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// The state as it is now.
    pub fn show(&mut self, state: &State) -> io::Result<()> {
        self.wipe()?;
        match terminal::size() {
            Ok((columns, rows))
                if self.live
                    && usize::from(columns) >= COLUMNS_MIN
                    && usize::from(rows) >= ROWS_MIN =>
            {
                // A frame as high as the terminal would scroll it.
                let text = frame(state, columns.into(), usize::from(rows) - 1, self.paint);
                queue!(self.out, Hide)?;
                self.drawn = text.lines().count() as u16;
                self.out.write_all(text.as_bytes())?;
            }
            _ => self.plain(state)?,
        }
        self.out.flush()
    }

    /// Ends the live view: what is on the terminal stays there.
    pub fn finish(&mut self) -> io::Result<()> {
        if self.live {
            self.drawn = 0;
            queue!(self.out, Show)?;
        }
        self.out.flush()
    }

    fn plain(&mut self, state: &State) -> io::Result<()> {
        for event in state
            .events
            .iter()
            .skip(state.events.len() - state.untold(self.told))
        {
            writeln!(self.out, "{}", super::event(event))?;
        }
        self.told = state.happened;
        writeln!(self.out, "{}", super::line(state))
    }

    fn wipe(&mut self) -> io::Result<()> {
        if self.drawn > 0 {
            queue!(
                self.out,
                MoveToPreviousLine(self.drawn),
                Clear(ClearType::FromCursorDown)
            )?;
            self.drawn = 0;
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = self.finish();
    }
}
