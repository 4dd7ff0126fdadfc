//! Counts the requests to stop: SIGINT (Ctrl-C), SIGTERM, and SIGHUP when the
//! terminal is closed.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Listening; the signals' own effect is off from here on.
#[derive(Debug)]
pub struct Stop {
    asked: watch::Receiver<u32>,
}

impl Stop {
    pub fn listen() -> std::io::Result<Stop> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let (sender, asked) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => (),
                    _ = terminate.recv() => (),
                    _ = hangup.recv() => (),
                    () = sender.closed() => return,
                }
                sender.send_modify(|asked| *asked += 1);
            }
        });
        Ok(Stop { asked })
    }

    /// Returns once there have been `times` requests in all.
    pub async fn asked(&mut self, times: u32) {
        if self.asked.wait_for(|asked| *asked >= times).await.is_err() {
            // The listener never ends before this does.
            std::future::pending::<()>().await;
        }
    }
}
