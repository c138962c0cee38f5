//! Which links the holder keeps, and which goes next.
//!
//! What enters: files with their links, and what is to become of them. What leaves: one link at a time, and how long to
//! wait after it. Pure: the links are of any type.
//!
//! While the kernel takes a link away (*measured*: 0.1 s), it blocks every attachment: one lock serves both.
//! *Measured*: 50 files released together kept the next ones waiting for 13 s, and their first connections were missed.
//! So links go one by one with pauses: long ones while there are few (each is a file that may come back, too), shorter
//! ones where many wait or have waited, since each keeps a descriptor and a deleted file. The kernel is busy with links
//! a fifth of the time at most, a third where two holders compete.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use crate::event::stream::FileId;

/// Between two links that go.
const PAUSE: Duration = Duration::from_secs(1);
/// Files, or seconds since the daemon ended, for which the pause is halved.
const MANY: u64 = 16;
/// The pause after a link is never shorter than so many times what the kernel took for it: others attach most of the
/// time.
const SHARE: u32 = 4;

struct Retired<L> {
    file: FileId,
    links: Vec<L>,
    /// None of its links is gone yet.
    whole: bool,
}

pub(super) struct Queue<L> {
    held: HashMap<FileId, Vec<L>>,
    /// What is at their places has changed: first.
    released: VecDeque<(FileId, L)>,
    /// The oldest first.
    retired: VecDeque<Retired<L>>,
}

impl<L> Default for Queue<L> {
    fn default() -> Self {
        Self { held: HashMap::new(), released: VecDeque::new(), retired: VecDeque::new() }
    }
}

impl<L> Queue<L> {
    pub(super) fn keep(&mut self, file: FileId, links: Vec<L>) {
        self.held.entry(file).or_default().extend(links);
    }

    /// In time: the file may come back.
    pub(super) fn retire(&mut self, file: FileId) {
        if let Some(links) = self.held.remove(&file) {
            self.retired.push_back(Retired { file, links, whole: true });
        }
    }

    /// At once.
    pub(super) fn release(&mut self, file: FileId) {
        self.released.extend(self.held.remove(&file).into_iter().flatten().map(|link| (file, link)));
        while let Some(at) = self.retired.iter().position(|retired| retired.file == file) {
            let links = self.retired.remove(at).map(|retired| retired.links);
            self.released.extend(links.into_iter().flatten().map(|link| (file, link)));
        }
    }

    /// The file has come back. False: some of its links are gone; the others go at once.
    pub(super) fn take_back(&mut self, file: FileId) -> bool {
        if self.held.contains_key(&file) {
            return true;
        }
        let Some(at) = self.retired.iter().position(|retired| retired.file == file) else { return false };
        match self.retired.remove(at) {
            Some(Retired { links, whole: true, .. }) => {
                self.held.insert(file, links);
                true
            }
            Some(Retired { links, .. }) => {
                self.released.extend(links.into_iter().map(|link| (file, link)));
                false
            }
            None => false,
        }
    }

    /// Is any link of the file left?
    pub(super) fn has(&self, file: FileId) -> bool {
        self.held.contains_key(&file)
            || self.released.iter().any(|(released, _)| *released == file)
            || self.retired.iter().any(|retired| retired.file == file)
    }

    /// The daemon has ended.
    pub(super) fn retire_all(&mut self) {
        let held = self.held.drain().map(|(file, links)| Retired { file, links, whole: true });
        self.retired.extend(held);
    }

    /// Does a link wait to go?
    pub(super) fn is_waiting(&self) -> bool {
        !self.released.is_empty() || !self.retired.is_empty()
    }

    /// The next link that goes. A file stays until its last one is taken.
    pub(super) fn next(&mut self) -> Option<L> {
        if let Some((_, link)) = self.released.pop_front() {
            return Some(link);
        }
        let retired = self.retired.front_mut()?;
        retired.whole = false;
        // The last attached goes first: calls before the jumps that follow them.
        let link = retired.links.pop();
        if retired.links.is_empty() {
            self.retired.pop_front();
        }
        link
    }

    /// How long to wait after a link that took the kernel so long. `ended`: since the daemon did.
    pub(super) fn pause(&self, took: Duration, ended: Duration) -> Duration {
        if !self.released.is_empty() {
            // Not at once either: a user who writes to many files of his own would keep all others from attaching.
            return took * SHARE;
        }
        let weight = MANY + self.retired.len() as u64 + ended.as_secs();
        let pause = PAUSE * MANY as u32 / u32::try_from(weight).unwrap_or(u32::MAX);
        pause.max(took * SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(inode: u64) -> FileId {
        FileId { dev: 1, inode }
    }

    #[test]
    fn what_is_retired_goes_one_by_one_or_comes_back_whole() {
        let mut queue = Queue::default();
        for (inode, links) in [(1, vec![1, 2]), (2, vec![3, 4]), (3, vec![5])] {
            queue.keep(file(inode), links);
            queue.retire(file(inode));
        }
        assert!(queue.is_waiting());
        assert_eq!(queue.next(), Some(2), "the last attached goes first");
        assert!(queue.take_back(file(2)), "none of its links is gone");
        assert!(queue.take_back(file(2)), "it is held");
        assert!(!queue.take_back(file(1)), "one of its links is gone");
        assert!(queue.has(file(1)));
        assert_eq!(queue.next(), Some(1));
        assert!(!queue.has(file(1)) && queue.has(file(2)) && queue.has(file(3)));
        assert_eq!(queue.next(), Some(5));
        assert_eq!((queue.is_waiting(), queue.next()), (false, None));
        queue.retire_all();
        assert_eq!([queue.next(), queue.next(), queue.next()], [Some(4), Some(3), None]);
    }

    #[test]
    fn what_is_released_goes_before_what_is_retired() {
        let mut queue = Queue::default();
        queue.keep(file(1), vec![1]);
        queue.retire(file(1));
        queue.keep(file(2), vec![2]);
        queue.keep(file(2), vec![3]);
        queue.release(file(2));
        assert!(queue.is_waiting());
        assert!(!queue.take_back(file(2)));
        assert_eq!([queue.next(), queue.next(), queue.next()], [Some(2), Some(3), Some(1)]);
        queue.keep(file(3), vec![4]);
        queue.retire(file(3));
        queue.release(file(3));
        assert!(queue.is_waiting());
    }

    #[test]
    fn pauses_are_long_for_few_files_and_never_shorter_than_what_the_kernel_took() {
        let mut queue = Queue::default();
        let took = Duration::from_millis(20);
        assert!(queue.pause(took, Duration::ZERO) > PAUSE / 2);
        assert!(queue.pause(took, Duration::from_mins(5)) < PAUSE / 10);
        for inode in 0..500 {
            queue.keep(file(inode), vec![inode]);
        }
        queue.retire_all();
        assert!(queue.pause(Duration::ZERO, Duration::ZERO) < PAUSE / 20);
        assert_eq!(queue.pause(Duration::from_millis(100), Duration::ZERO), Duration::from_millis(400));
        queue.release(file(1));
        assert_eq!(queue.pause(took, Duration::ZERO), took * SHARE);
    }
}
