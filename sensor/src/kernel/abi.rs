//! Does the object fit this program?
//!
//! What enters: the object's maps, with the sizes of their keys and values, and its version. What leaves: the first
//! thing that is wrong with them, if any. Both halves are built from one tree, so a difference is a mistake in it, or a
//! build that mixed two trees. It is found here, before the object is loaded, and never by a misread value while the
//! sensor runs: the maps are opened with the same types (`open`), when the object is loaded.

use aya::{
    Ebpf, Pod,
    maps::{HashMap, MapData},
};
use aya_obj::Object;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use sensor_common::{
    VERSION,
    map::{MAPS, VERSION_SYMBOL},
};

use super::{Error, Mismatch};

/// A map as the object defines it.
#[derive(Clone, Debug)]
struct Defined<'a> {
    name: &'a str,
    key: u32,
    value: u32,
}

/// Compares the object with what this program was built with.
pub(super) fn check(bytes: &[u8]) -> Result<(), Mismatch> {
    let object = Object::parse(bytes).map_err(|error| Mismatch::Unreadable(error.to_string()))?;
    let defined = object.maps.iter().map(|(name, map)| Defined { name, key: map.key_size(), value: map.value_size() });
    let maps: Vec<Defined> = defined.collect();
    fits(version(bytes)?, &maps)
}

fn fits(version: u64, maps: &[Defined]) -> Result<(), Mismatch> {
    if version != u64::from(VERSION) {
        return Err(Mismatch::Version { found: version });
    }
    for layout in MAPS {
        let map = maps.iter().find(|map| map.name == layout.name).ok_or(Mismatch::NoMap(layout.name))?;
        for (of, found, expected) in [("keys", map.key, layout.key), ("values", map.value, layout.value)] {
            if found != expected {
                return Err(Mismatch::Size { map: layout.name, of, found, expected });
            }
        }
    }
    Ok(())
}

/// The version in the object's read-only data.
fn version(bytes: &[u8]) -> Result<u64, Mismatch> {
    let unreadable = |why: &str| Mismatch::Unreadable(format!("{VERSION_SYMBOL}: {why}"));
    let file = object::File::parse(bytes).map_err(|error| Mismatch::Unreadable(error.to_string()))?;
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok(VERSION_SYMBOL)).ok_or(unreadable("not there"))?;
    let section = symbol.section_index().and_then(|index| file.section_by_index(index).ok());
    let data = section.and_then(|section| section.data().ok()).ok_or(unreadable("not data"))?;
    let bytes = data.get(symbol.address() as usize..).and_then(|bytes| bytes.first_chunk::<8>());
    bytes.map(|bytes| u64::from_ne_bytes(*bytes)).ok_or(unreadable("cut"))
}

/// Takes a map of the loaded object, to be used with these types.
pub(super) fn open<K: Pod, V: Pod>(ebpf: &mut Ebpf, name: &'static str) -> Result<HashMap<MapData, K, V>, Error> {
    let map = ebpf.take_map(name).ok_or(Error::Map(name))?;
    HashMap::try_from(map).map_err(|error| Error::MapUse { map: name, why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defined() -> Vec<Defined<'static>> {
        MAPS.map(|map| Defined { name: map.name, key: map.key, value: map.value }).into()
    }

    #[test]
    fn the_object_of_this_build_fits_and_each_of_its_maps_is_compared() {
        assert_eq!(check(super::super::load::OBJECT), Ok(()));
        let object = Object::parse(super::super::load::OBJECT).unwrap();
        // Rings, tables of programs and logs hold nothing that the loader opens; a name with a dot is a section of
        // globals.
        let others = ["EVENTS", "NOWHERE", "AYA_LOGS", "LOG_WINDOWS"];
        for name in object.maps.keys().filter(|name| !name.starts_with('.') && !others.contains(&name.as_str())) {
            assert!(MAPS.iter().any(|map| map.name == name), "{name} is not compared");
        }
    }

    #[test]
    fn a_value_of_another_size_is_named_with_both_sizes() {
        let mut maps = defined();
        let contexts = maps.iter_mut().find(|map| map.name == "CONTEXTS").unwrap();
        contexts.value += 8;
        let why = fits(VERSION.into(), &maps).unwrap_err();
        assert_eq!(why, Mismatch::Size { map: "CONTEXTS", of: "values", found: 1080, expected: 1072 });
        assert_eq!(
            Error::Abi(why).to_string(),
            "the eBPF object does not fit this program: values of its map `CONTEXTS` have 1080 bytes, this program \
             uses 1072; rebuild sensor"
        );
    }

    #[test]
    fn a_key_of_another_size_a_missing_map_and_another_version_are_found() {
        let mut maps = defined();
        maps.iter_mut().find(|map| map.name == "FLOWS").unwrap().key = 8;
        let expected = Mismatch::Size { map: "FLOWS", of: "keys", found: 8, expected: 16 };
        assert_eq!(fits(VERSION.into(), &maps), Err(expected));
        let maps: Vec<_> = defined().into_iter().filter(|map| map.name != "TRACKED").collect();
        assert_eq!(fits(VERSION.into(), &maps), Err(Mismatch::NoMap("TRACKED")));
        assert_eq!(fits(2, &defined()), Err(Mismatch::Version { found: 2 }));
    }
}
