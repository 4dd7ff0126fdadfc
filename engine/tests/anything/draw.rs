//! Choices, drawn from a stream of bytes: a fuzzer's, or a generator's. Few bytes
//! make most choices, so that small inputs reach far. A stream that has ended
//! gives zeros, and says so.

use starling_engine::unit::Ms;

/// Draws until the bytes end.
pub struct Draw<'a> {
    bytes: Box<dyn Iterator<Item = u8> + 'a>,
    ended: bool,
}

impl<'a> Draw<'a> {
    pub fn new(bytes: impl Iterator<Item = u8> + 'a) -> Self {
        let bytes = Box::new(bytes);
        Draw {
            bytes,
            ended: false,
        }
    }

    /// Nothing was left for the last draw.
    pub fn ended(&self) -> bool {
        self.ended
    }

    pub fn byte(&mut self) -> u8 {
        let next = self.bytes.next();
        self.ended |= next.is_none();
        next.unwrap_or(0)
    }

    /// At least 0 and less than `n`, which is at most 256.
    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n.max(1)
    }

    /// True once in `n` draws, and where the bytes have ended never.
    pub fn rarely(&mut self, n: u8) -> bool {
        self.byte() % n == n - 1
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub fn maybe<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let some = self.byte() % 2 == 1;
        some.then(|| draw(self))
    }

    pub fn u64(&mut self) -> u64 {
        (0..8).fold(0, |n, _| n << 8 | u64::from(self.byte()))
    }

    /// Mostly small, now and then an extreme or anything.
    pub fn u32(&mut self) -> u32 {
        match self.byte() {
            250 => u32::MAX,
            251 => 100_000,
            252..=255 => self.u64() as u32,
            small => u32::from(small) % 64,
        }
    }

    /// Mostly up to ten million, now and then an extreme or anything.
    pub fn i64(&mut self) -> i64 {
        match self.byte() {
            250 => i64::MIN,
            251 => i64::MAX,
            252 => -1,
            253..=255 => self.u64() as i64,
            small => i64::from(small) * 40_000,
        }
    }

    /// A duration in milliseconds: seconds, minutes, or anything.
    pub fn wait_ms(&mut self) -> u64 {
        match self.byte() {
            254 => u64::MAX,
            255 => self.u64(),
            n if n % 2 == 0 => u64::from(n) * 500,
            n => u64::from(n) * 15_000,
        }
    }

    /// `now`, up to an hour to either side, an end of time, or anything.
    pub fn near(&mut self, now: Ms) -> Ms {
        match self.byte() {
            0..=63 => now,
            64..=150 => now.minus(u64::from(self.byte()) * 14_200),
            151..=230 => now.plus(u64::from(self.byte()) * 14_200),
            231..=239 => Ms(0),
            240..=247 => Ms(u64::MAX),
            248..=255 => Ms(self.u64()),
        }
    }
}
