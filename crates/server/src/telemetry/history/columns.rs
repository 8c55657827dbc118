//! Columns of values as bytes that compress well: what changes little from one value to the next becomes small, and what is
//! noise stands together. Nothing is rounded: what is read is what was written, to the bit.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use zstd::bulk::{Compressor, Decompressor};

thread_local! {
    // Making one costs more than packing or reading an hour with it.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Of zstd. Higher levels gain a few per cent and cost several times as much (decision 0010).
const LEVEL: i32 = 3;
/// Longest a packed text may become. An hour of samples is far below.
const MAX_BYTES: usize = 256 << 20;
/// The first byte of what is packed.
const VERSION: u8 = 1;

/// What was packed cannot be read, or there is no memory to pack it.
#[derive(Debug, thiserror::Error)]
#[error("packed history is damaged")]
pub struct PackError;

/// Writes columns one after another.
#[derive(Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Compresses what was written.
    pub fn finish(self) -> Result<Vec<u8>, PackError> {
        let compressed = COMPRESSOR.with_borrow_mut(|kept| {
            let compressor = match kept {
                Some(compressor) => compressor,
                None => kept.insert(Compressor::new(LEVEL).map_err(|_| PackError)?),
            };
            compressor.compress(&self.bytes).map_err(|_| PackError)
        })?;
        let mut packed = vec![VERSION];
        packed.extend(compressed);
        Ok(packed)
    }

    /// A number of its own.
    pub fn count(&mut self, value: usize) {
        self.varint(value as u64);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    fn signed(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    /// Numbers near the one before.
    pub fn deltas(&mut self, values: impl IntoIterator<Item = i64>) {
        let mut before = 0_i64;
        for value in values {
            self.signed(value.wrapping_sub(before));
            before = value;
        }
    }

    /// Numbers that grow evenly.
    pub fn even(&mut self, values: impl IntoIterator<Item = i64>) {
        let (mut before, mut step) = (0_i64, 0_i64);
        for value in values {
            let now = value.wrapping_sub(before);
            self.signed(now.wrapping_sub(step));
            (before, step) = (value, now);
        }
    }

    /// Numbers near the one before of the same key.
    pub fn keyed<K: Eq + Hash>(&mut self, values: impl IntoIterator<Item = (K, i64)>) {
        let mut before = HashMap::new();
        for (key, value) in values {
            let before = before.entry(key).or_insert(0_i64);
            self.signed(value.wrapping_sub(*before));
            *before = value;
        }
    }

    /// Numbers near those at the same place of the list before.
    pub fn lists(&mut self, lists: &[Vec<usize>]) {
        self.deltas(lists.iter().map(|list| list.len() as i64));
        self.keyed(
            lists.iter().flat_map(|list| list.iter().enumerate().map(|(at, value)| (at, *value as i64))),
        );
    }

    /// Bits of numbers, the same place of all of them together.
    pub fn bits32(&mut self, values: impl IntoIterator<Item = u32>) {
        let mut before = 0;
        let changes: Vec<[u8; 4]> = values.into_iter().map(|value| changed(&mut before, value)).collect();
        (0..4).for_each(|place| self.bytes.extend(changes.iter().map(|bytes| bytes[place])));
    }

    /// [`Writer::bits32`] of a key's number before.
    pub fn keyed_bits32(&mut self, values: impl IntoIterator<Item = (usize, u32)>) {
        let mut before: HashMap<usize, u32> = HashMap::new();
        let changes: Vec<[u8; 4]> =
            values.into_iter().map(|(key, value)| changed(before.entry(key).or_insert(0), value)).collect();
        (0..4).for_each(|place| self.bytes.extend(changes.iter().map(|bytes| bytes[place])));
    }

    /// As [`Writer::bits32`].
    pub fn bits64(&mut self, values: impl IntoIterator<Item = u64>) {
        let values: Vec<[u8; 8]> = values.into_iter().map(u64::to_be_bytes).collect();
        (0..8).for_each(|place| self.bytes.extend(values.iter().map(|bytes| bytes[place])));
    }

    /// Which values are there; answers those.
    pub fn present<T>(&mut self, values: impl IntoIterator<Item = Option<T>>) -> Vec<T> {
        let mut there = Vec::new();
        for value in values {
            self.bytes.push(u8::from(value.is_some()));
            there.extend(value);
        }
        there
    }

    /// Texts, each different one once.
    pub fn texts<'a>(&mut self, values: impl IntoIterator<Item = &'a str>) {
        let mut table = Table::default();
        let places: Vec<i64> = values.into_iter().map(|text| table.place(text) as i64).collect();
        self.count(table.all.len());
        for text in table.all {
            self.count(text.len());
            self.bytes.extend(text.as_bytes());
        }
        self.deltas(places);
    }
}

fn changed(before: &mut u32, value: u32) -> [u8; 4] {
    let change = value ^ *before;
    *before = value;
    change.to_be_bytes()
}

/// Different things, in the order in which they came.
pub struct Table<T> {
    pub all: Vec<T>,
    places: HashMap<T, usize>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { all: Vec::new(), places: HashMap::new() }
    }
}

impl<T: Eq + Hash + Clone> Table<T> {
    /// Where a thing stands, from now on at the latest.
    pub fn place(&mut self, thing: T) -> usize {
        if let Some(place) = self.places.get(&thing) {
            return *place;
        }
        self.all.push(thing.clone());
        self.places.insert(thing, self.all.len() - 1);
        self.all.len() - 1
    }
}

/// Reads columns in the order in which they were written.
pub struct Reader {
    bytes: Vec<u8>,
    at: usize,
}

impl Reader {
    /// Of what [`Writer::finish`] made.
    pub fn new(packed: &[u8]) -> Result<Self, PackError> {
        let Some((&VERSION, compressed)) = packed.split_first() else { return Err(PackError) };
        let length = zstd::zstd_safe::get_frame_content_size(compressed).ok().flatten().ok_or(PackError)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= MAX_BYTES).ok_or(PackError)?;
        let bytes = DECOMPRESSOR.with_borrow_mut(|kept| {
            let decompressor = match kept {
                Some(decompressor) => decompressor,
                None => kept.insert(Decompressor::new().map_err(|_| PackError)?),
            };
            decompressor.decompress(compressed, length).map_err(|_| PackError)
        })?;
        Ok(Self { bytes, at: 0 })
    }

    fn take(&mut self, count: usize) -> Result<&[u8], PackError> {
        let end = self.at.checked_add(count).ok_or(PackError)?;
        let taken = self.bytes.get(self.at..end).ok_or(PackError)?;
        self.at = end;
        Ok(taken)
    }

    /// See [`Writer::count`]. No more than there are bytes: every counted thing takes at least one.
    pub fn count(&mut self) -> Result<usize, PackError> {
        let count = self.varint()?;
        usize::try_from(count).ok().filter(|count| *count <= self.bytes.len()).ok_or(PackError)
    }

    fn varint(&mut self) -> Result<u64, PackError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(PackError)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(PackError)
    }

    fn signed(&mut self) -> Result<i64, PackError> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// See [`Writer::deltas`].
    pub fn deltas(&mut self, count: usize) -> Result<Vec<i64>, PackError> {
        let mut before = 0_i64;
        let next = |_| {
            before = before.wrapping_add(self.signed()?);
            Ok(before)
        };
        (0..count).map(next).collect()
    }

    /// See [`Writer::even`].
    pub fn even(&mut self, count: usize) -> Result<Vec<i64>, PackError> {
        let (mut before, mut step) = (0_i64, 0_i64);
        let next = |_| {
            step = step.wrapping_add(self.signed()?);
            before = before.wrapping_add(step);
            Ok(before)
        };
        (0..count).map(next).collect()
    }

    /// See [`Writer::keyed`].
    pub fn keyed<K: Eq + Hash>(&mut self, keys: impl IntoIterator<Item = K>) -> Result<Vec<i64>, PackError> {
        let mut before = HashMap::new();
        let next = |key| {
            let before = before.entry(key).or_insert(0_i64);
            *before = before.wrapping_add(self.signed()?);
            Ok(*before)
        };
        keys.into_iter().map(next).collect()
    }

    /// See [`Writer::lists`]. `below` is more than any number in them.
    pub fn lists(&mut self, count: usize, below: usize) -> Result<Vec<Vec<usize>>, PackError> {
        let lengths = self.deltas(count)?;
        let mut before = HashMap::new();
        let mut lists = Vec::with_capacity(count);
        for length in lengths {
            let length = usize::try_from(length).map_err(|_| PackError)?;
            if length > self.bytes.len() - self.at {
                return Err(PackError);
            }
            let next = |at| {
                let before = before.entry(at).or_insert(0_i64);
                *before = before.wrapping_add(self.signed()?);
                usize::try_from(*before).ok().filter(|value| *value < below).ok_or(PackError)
            };
            lists.push((0..length).map(next).collect::<Result<_, _>>()?);
        }
        Ok(lists)
    }

    /// See [`Writer::bits32`].
    pub fn bits32(&mut self, count: usize) -> Result<Vec<u32>, PackError> {
        let mut before = 0;
        let changes = self.places32(count)?;
        let value = |change| {
            before ^= change;
            before
        };
        Ok(changes.into_iter().map(value).collect())
    }

    /// See [`Writer::keyed_bits32`].
    pub fn keyed_bits32(&mut self, keys: &[usize]) -> Result<Vec<u32>, PackError> {
        let changes = self.places32(keys.len())?;
        let mut before: HashMap<usize, u32> = HashMap::new();
        let value = |(key, change): (&usize, u32)| {
            let before = before.entry(*key).or_insert(0);
            *before ^= change;
            *before
        };
        Ok(keys.iter().zip(changes).map(value).collect())
    }

    fn places32(&mut self, count: usize) -> Result<Vec<u32>, PackError> {
        let bytes = self.take(count.checked_mul(4).ok_or(PackError)?)?;
        let value = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|place| bytes[place * count + at]));
        Ok((0..count).map(value).collect())
    }

    /// See [`Writer::bits64`].
    pub fn bits64(&mut self, count: usize) -> Result<Vec<u64>, PackError> {
        let bytes = self.take(count.checked_mul(8).ok_or(PackError)?)?;
        let places = [0, 1, 2, 3, 4, 5, 6, 7];
        let value = |at: usize| u64::from_be_bytes(places.map(|place| bytes[place * count + at]));
        Ok((0..count).map(value).collect())
    }

    /// See [`Writer::present`]: puts values where some were.
    pub fn present<T>(
        &mut self,
        count: usize,
        values: impl FnOnce(&mut Self, usize) -> Result<Vec<T>, PackError>,
    ) -> Result<Vec<Option<T>>, PackError> {
        let there: Vec<bool> = self.take(count)?.iter().map(|byte| *byte != 0).collect();
        let mut values = values(self, there.iter().filter(|is| **is).count())?.into_iter();
        Ok(there.into_iter().map(|is| if is { values.next() } else { None }).collect())
    }

    /// See [`Writer::texts`].
    pub fn texts(&mut self, count: usize) -> Result<Vec<String>, PackError> {
        let different = self.count()?;
        let mut table = Vec::with_capacity(different);
        for _ in 0..different {
            let length = self.count()?;
            table.push(String::from_utf8(self.take(length)?.to_vec()).map_err(|_| PackError)?);
        }
        let places = self.deltas(count)?;
        let text = |place: i64| usize::try_from(place).ok().and_then(|place| table.get(place).cloned());
        places.into_iter().map(|place| text(place).ok_or(PackError)).collect()
    }
}
