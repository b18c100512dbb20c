//! What lies in a directory, how much, and what goes first. Pure: it touches no disk, and is told the time.
//!
//! Least recently used goes first. The order outlives a restart, because each file's access time is set when it is used and read when the
//! directory is walked through.

use std::collections::{BTreeSet, HashMap};

/// Files take whole blocks, and so much of a disk is what a limit is about.
const BLOCK_BYTES: u64 = 4096;
/// Uses that are closer together than this are not told to the disk: a write for each of them would cost more than exactness is worth.
const TELL_AFTER_SECONDS: u32 = 600;

/// A file: which namespace's it is, and the object's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name {
    namespace: u16,
    key: [u8; 16],
}

/// A file as it was found on the disk. Times are seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) key: [u8; 16],
    pub(super) bytes: u64,
    pub(super) made: u32,
    pub(super) used: u32,
}

#[derive(Debug)]
struct Entry {
    blocks: u32,
    made: u32,
    used: u32,
    /// When its use was last told to the disk.
    told: u32,
    /// The walk that saw it last, or during which it was written.
    walk: u32,
}

/// All files of a directory, as far as is known.
#[derive(Debug)]
pub(super) struct Ledger {
    limit_bytes: u64,
    namespaces: Vec<String>,
    entries: HashMap<Name, Entry>,
    /// Least recently used first.
    order: BTreeSet<(u32, Name)>,
    blocks: u64,
    walk: u32,
}

impl Ledger {
    /// Nothing is known yet; `namespace` is that of this process.
    pub(super) fn new(limit_bytes: u64, namespace: &str) -> Self {
        Self {
            limit_bytes,
            namespaces: vec![namespace.to_owned()],
            entries: HashMap::new(),
            order: BTreeSet::new(),
            blocks: 0,
            walk: 0,
        }
    }

    /// The name of an object of this process.
    pub(super) fn own(&self, key: [u8; 16]) -> Name {
        Name { namespace: 0, key }
    }

    /// A name's namespace and key.
    pub(super) fn parts(&self, name: Name) -> (&str, [u8; 16]) {
        (self.namespaces.get(usize::from(name.namespace)).map_or("", String::as_str), name.key)
    }

    /// Bytes of disk that all of it takes.
    pub(super) fn bytes(&self) -> u64 {
        self.blocks * BLOCK_BYTES
    }

    pub(super) fn objects(&self) -> usize {
        self.entries.len()
    }

    /// A file of `bytes` is being written.
    pub(super) fn insert(&mut self, name: Name, bytes: u64, now: u32) {
        self.take(name);
        let blocks = u32::try_from(bytes.div_ceil(BLOCK_BYTES)).unwrap_or(u32::MAX);
        self.put(name, Entry { blocks, made: now, used: now, told: now, walk: self.walk });
    }

    /// It is gone, or was never written.
    pub(super) fn remove(&mut self, name: Name) {
        self.take(name);
    }

    /// It was given out. `true` if the disk should know.
    pub(super) fn used(&mut self, name: Name, now: u32) -> bool {
        let Some(mut entry) = self.take(name) else { return false };
        entry.used = now.max(entry.used);
        let tells = entry.used.saturating_sub(entry.told) >= TELL_AFTER_SECONDS;
        if tells {
            entry.told = entry.used;
        }
        self.put(name, entry);
        tells
    }

    /// Whether so many bytes would fit if nothing else were there.
    pub(super) fn could_take(&self, bytes: u64) -> bool {
        bytes.div_ceil(BLOCK_BYTES) * BLOCK_BYTES <= self.limit_bytes
    }

    /// What has to go so that `more` bytes fit; a little more than that, so that not each write waits for a removal.
    pub(super) fn too_much(&self, more: u64) -> Vec<Name> {
        let more = more.div_ceil(BLOCK_BYTES) * BLOCK_BYTES;
        let over = (self.bytes() + more).saturating_sub(self.limit_bytes);
        if over == 0 { Vec::new() } else { self.oldest(over.saturating_add(self.limit_bytes / 64)) }
    }

    /// The least recently used, `bytes` of them.
    pub(super) fn oldest(&self, bytes: u64) -> Vec<Name> {
        let mut blocks = bytes.div_ceil(BLOCK_BYTES);
        let until_enough = |&&(_, name): &&(u32, Name)| {
            let needed = blocks > 0;
            blocks =
                blocks.saturating_sub(self.entries.get(&name).map_or(0, |entry| u64::from(entry.blocks)));
            needed
        };
        self.order.iter().take_while(until_enough).map(|&(_, name)| name).collect()
    }

    /// What was made before this time.
    pub(super) fn made_before(&self, time: u32) -> Vec<Name> {
        self.entries.iter().filter(|(_, entry)| entry.made < time).map(|(&name, _)| name).collect()
    }

    /// A walk through the directory begins: [`Self::found`] follows, then [`Self::walked`].
    pub(super) fn walk(&mut self) {
        self.walk = self.walk.wrapping_add(1);
    }

    /// The walk came to these.
    pub(super) fn found(&mut self, namespace: &str, files: &[Found]) {
        let known = self.namespaces.iter().position(|known| known == namespace);
        let namespace = known.unwrap_or_else(|| {
            self.namespaces.push(namespace.to_owned());
            self.namespaces.len() - 1
        });
        // More settings than this have not been tried on one disk; those files are then only not counted.
        let Ok(namespace) = u16::try_from(namespace) else { return };
        for file in files {
            let name = Name { namespace, key: file.key };
            let blocks = u32::try_from(file.bytes.div_ceil(BLOCK_BYTES)).unwrap_or(u32::MAX);
            let known = self.take(name);
            let used = known.as_ref().map_or(file.used, |known| known.used.max(file.used));
            self.put(name, Entry { blocks, made: file.made, used, told: file.used, walk: self.walk });
        }
    }

    /// The walk is over: what it did not come to is not there.
    pub(super) fn walked(&mut self) {
        let (walk, entries) = (self.walk, &self.entries);
        let gone: Vec<Name> =
            entries.iter().filter(|(_, entry)| entry.walk != walk).map(|(&name, _)| name).collect();
        for name in gone {
            self.take(name);
        }
    }

    fn put(&mut self, name: Name, entry: Entry) {
        self.blocks += u64::from(entry.blocks);
        self.order.insert((entry.used, name));
        self.entries.insert(name, entry);
    }

    fn take(&mut self, name: Name) -> Option<Entry> {
        let entry = self.entries.remove(&name)?;
        self.blocks -= u64::from(entry.blocks);
        self.order.remove(&(entry.used, name));
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = BLOCK_BYTES;

    fn key(number: u8) -> [u8; 16] {
        [number; 16]
    }

    /// Files 1 to 10 of two blocks each, written one second after the other, where 64 blocks are allowed.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(64 * BLOCK, "own");
        for number in 1..=10 {
            ledger.insert(ledger.own(key(number)), BLOCK + 1, 1000 + u32::from(number));
        }
        ledger
    }

    fn keys(ledger: &Ledger, names: &[Name]) -> Vec<u8> {
        names.iter().map(|&name| ledger.parts(name).1[0]).collect()
    }

    #[test]
    fn least_recently_used_goes_first_and_only_as_much_as_must() {
        let mut ledger = ledger();
        assert_eq!((ledger.bytes(), ledger.objects()), (20 * BLOCK, 10));
        assert!(ledger.could_take(64 * BLOCK) && !ledger.could_take(64 * BLOCK + 1));
        assert!(ledger.too_much(44 * BLOCK).is_empty(), "it just fits");
        // One block too much, and a sixty-fourth of the limit.
        let gone = ledger.too_much(45 * BLOCK);
        assert_eq!(keys(&ledger, &gone), [1]);
        assert!(!ledger.used(ledger.own(key(1)), 1500), "not worth a write to the disk");
        assert!(ledger.used(ledger.own(key(2)), 1002 + TELL_AFTER_SECONDS));
        assert!(!ledger.used(ledger.own(key(77)), 2000), "not known");
        assert_eq!(keys(&ledger, &ledger.oldest(3 * BLOCK)), [3, 4]);
        assert_eq!(keys(&ledger, &ledger.oldest(u64::MAX)).len(), 10);
        ledger.remove(ledger.own(key(3)));
        ledger.remove(ledger.own(key(3)));
        assert_eq!((ledger.bytes(), ledger.objects()), (18 * BLOCK, 9));
        ledger.insert(ledger.own(key(4)), 1, 3000);
        assert_eq!(ledger.bytes(), 17 * BLOCK, "replaced, not added");
        assert_eq!(keys(&ledger, &ledger.oldest(BLOCK)), [5]);
    }

    #[test]
    fn a_walk_tells_what_is_there() {
        let mut ledger = ledger();
        ledger.walk();
        let found = |number, used| Found { key: key(number), bytes: 3 * BLOCK, made: 10, used };
        ledger.found("own", &[found(1, 50), found(2, 9000)]);
        ledger.found("older", &[found(1, 60)]);
        ledger.insert(ledger.own(key(20)), BLOCK, 2000);
        ledger.walked();
        assert_eq!((ledger.bytes(), ledger.objects()), (10 * BLOCK, 4), "what it did not find is not there");
        let order: Vec<_> = ledger.oldest(u64::MAX).iter().map(|&name| ledger.parts(name)).collect();
        assert_eq!(order, [("older", key(1)), ("own", key(1)), ("own", key(20)), ("own", key(2))]);
        let mut aged = keys(&ledger, &ledger.made_before(1000));
        aged.sort_unstable();
        assert_eq!(aged, [1, 1, 2]);
    }
}
