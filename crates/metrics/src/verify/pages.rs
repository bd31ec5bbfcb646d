//! Bytes on large pages.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// Bytes, zero at first, on large pages where the system has them.
///
/// Counters are hit in no order. Even a short count soon touches all of them, and would wait for the system to hand
/// out a thousand pages of 4 KiB, one by one.
#[derive(Debug)]
pub(super) struct Pages {
    memory: Memory,
    len: usize,
}

#[derive(Debug)]
enum Memory {
    Mapped(MmapMut),
    Allocated(Vec<u8>),
}

impl Pages {
    /// A large page of Linux on most processors.
    const LARGE: usize = 2 << 20;

    /// Bytes that `len` bytes take: whole large pages, if they fill one.
    pub(super) const fn bytes(len: usize) -> usize {
        if len < Self::LARGE { len } else { len.next_multiple_of(Self::LARGE) }
    }

    pub(super) fn zeroed(len: usize) -> Self {
        let mapped = (len >= Self::LARGE).then(|| MmapMut::map_anon(Self::bytes(len)).ok()).flatten();
        let memory = mapped.map_or_else(|| Memory::Allocated(vec![0; len]), Memory::Mapped);
        #[cfg(target_os = "linux")]
        if let Memory::Mapped(map) = &memory {
            // A wish: if not granted, it costs only time.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Self { memory, len }
    }
}

impl Default for Pages {
    fn default() -> Self {
        Self::zeroed(0)
    }
}

impl Deref for Pages {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.memory {
            Memory::Mapped(map) => &map[..self.len],
            Memory::Allocated(bytes) => bytes,
        }
    }
}

impl DerefMut for Pages {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Mapped(map) => &mut map[..self.len],
            Memory::Allocated(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pages;

    #[test]
    fn bytes_are_zero_until_written_and_as_many_as_asked_for() {
        for len in [0, 1, Pages::LARGE - 1, Pages::LARGE, 2 * Pages::LARGE + 3] {
            let mut pages = Pages::zeroed(len);
            assert!(pages.len() == len && pages.iter().all(|&byte| byte == 0) && Pages::bytes(len) >= len);
            pages.fill(7);
            assert!(pages.iter().all(|&byte| byte == 7));
        }
        // Less than a large page is not rounded up.
        assert_eq!(Pages::bytes(3), 3);
        assert_eq!(Pages::bytes(2 * Pages::LARGE + 3), 3 * Pages::LARGE);
    }
}
