//! What one file is to the probes: a program that speaks SSH, or a library through which others do, with the offsets of
//! its cipher calls (`sites`); or why there are none; or none of our business.
//!
//! A probe at a wrong offset would break the program it is in. So the file that is examined is the file that is probed:
//! both go through one open descriptor (`/proc/self/fd`), never twice through a path.

use std::{
    collections::BTreeSet,
    fmt,
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    content::{Content, Opened},
    holders::InodeIdentity,
    libraries, program,
    sites::{self, Convention, NotCovered, SiteRole},
    snapshot::{Stamp, file_id_of},
};
use crate::event::stream::{FileId, Hook, Role};

/// cryptography's wheels have 14 MiB, node 95. What is larger is something else.
const LIBRARY_MAX: u64 = program::FILE_MAX;

/// What a file was found to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Examined {
    pub file: FileId,
    pub real: InodeIdentity,
    pub stamp: Stamp,
    /// Its user.
    pub owner: u32,
    /// Its path in its own root.
    pub name: PathBuf,
    pub role: Role,
    /// None: it does not speak SSH, as far as can be seen.
    pub speaks: Option<Speaks>,
}

/// How it speaks SSH.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speaks {
    /// Interpreters load it.
    pub is_library: bool,
    /// What to probe where in the file; or why it cannot be probed.
    pub sites: Result<Sites, String>,
}

/// A program or library that speaks SSH, with the file that was examined.
#[derive(Debug)]
pub struct Program {
    pub file: FileId,
    /// As people know it.
    pub name: String,
    pub sites: Result<Sites, String>,
    pub is_library: bool,
    pub open: OwnedFd,
    /// The file's user.
    pub owner: u32,
    /// It is the host's own, where only root can write.
    pub reserved: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sites {
    /// By offset in the file: one probe at a call where that does.
    pub places: Vec<(Hook, u64)>,
    /// The same with two probes at each call, for kernels before 5.15.
    pub pairs: Vec<(Hook, u64)>,
    calls: usize,
    /// Of `calls`, those with one probe.
    single: usize,
    /// Calls that carry no packet and are left alone.
    spared: usize,
    /// Every site is emulated by the kernel, not single-stepped.
    emulated: bool,
}

impl Sites {
    /// Every place that may be probed, once.
    pub fn offsets(&self) -> Vec<u64> {
        let all: BTreeSet<u64> = self.places.iter().chain(&self.pairs).map(|(_, at)| *at).collect();
        all.into_iter().collect()
    }
}

impl fmt::Display for Sites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (calls, all) = (self.calls, self.calls + self.spared);
        let hits = match self.single {
            0 => "two traps a packet",
            single if single == calls => "one trap a packet",
            _ => "one or two traps a packet, by cipher",
        };
        let how = if self.emulated { "" } else { ", some of them single-stepped" };
        write!(f, "{calls} of {all} cipher calls probed, {hits}{how}")
    }
}

/// A program, open for reading.
pub fn examine(open: &File, name: &Path) -> io::Result<Examined> {
    let mut examined = identify(open, name)?;
    if examined.stamp.size() > program::FILE_MAX {
        return Ok(examined);
    }
    let opened = Opened::new(open);
    let markers = program::markers(Content::from(&opened));
    examined.role = markers.role();
    examined.speaks = match sites::find(&opened) {
        Err(NotCovered::NoImport { .. }) => None,
        _ if !markers.identification => None,
        found => Some(speaks(false, found.map(|sites| wanted(&sites)))),
    };
    // An interpreter that has OpenSSL inside and lends it to its addons. Without calls of its own it has nothing to do
    // with SSH.
    if examined.speaks.is_none() && sites::lends(&opened) {
        let called = |speaks: &Speaks| speaks.sites.is_ok();
        examined.speaks = library(&opened, name).filter(called);
    }
    Ok(examined)
}

/// A library, open for reading.
pub fn examine_library(open: &File, name: &Path) -> io::Result<Examined> {
    let mut examined = identify(open, name)?;
    if examined.stamp.size() <= LIBRARY_MAX {
        examined.speaks = library(&Opened::new(open), name);
    }
    Ok(examined)
}

fn identify(open: &File, name: &Path) -> io::Result<Examined> {
    let metadata = open.metadata()?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(Examined {
        file: file_id_of(&metadata),
        real: InodeIdentity::of_open(open, &metadata),
        stamp: Stamp::from(&metadata),
        owner: metadata.uid(),
        name: name.into(),
        role: Role::Other,
        speaks: None,
    })
}

fn library<'a>(opened: &'a Opened<'a>, name: &Path) -> Option<Speaks> {
    match sites::find_in_library(opened) {
        Err(NotCovered::NoImport { .. }) => None,
        found => {
            let identifies = name.ends_with(libraries::NODE_ADDON) || program::markers(opened.into()).library;
            Some(speaks(true, found.map(|sites| of_library(&sites, identifies))))
        }
    }
}

fn speaks(is_library: bool, found: Result<Sites, NotCovered>) -> Speaks {
    Speaks { is_library, sites: found.map_err(|why| why.to_string()) }
}

/// The sites that carry packets.
fn wanted(sites: &[sites::Site]) -> Sites {
    let bodies: Vec<_> = sites.iter().filter(|site| site.role == SiteRole::Body).collect();
    let (single, double): (Vec<&sites::Site>, Vec<_>) = bodies.iter().partition(|site| site.single.is_some());
    let pairs = |sites: &[&sites::Site]| places(sites, |_| Hook::CipherCall, Hook::CipherJump);
    let mut alone: Vec<_> = single
        .iter()
        .filter_map(|site| site.single)
        .map(|single| (Hook::CipherDone(single.arguments.pack()), single.at))
        .collect();
    // At one branch one probe.
    alone.sort_unstable_by_key(|(_, at)| *at);
    alone.dedup_by_key(|(_, at)| *at);
    Sites {
        places: pairs(&double).into_iter().chain(alone).collect(),
        pairs: pairs(&bodies),
        calls: bodies.len(),
        single: single.len(),
        spared: sites.len() - bodies.len(),
        emulated: bodies.iter().all(|site| site.emulated || site.single.is_some()),
    }
}

fn of_library(sites: &[sites::Site], speaks: bool) -> Sites {
    let call = |convention| match convention {
        Convention::Cipher => Hook::LibraryCall,
        Convention::Update if speaks => Hook::SpeakerCall,
        Convention::Update => Hook::UpdateCall,
    };
    // What has no output carries no packet, whatever the convention; the other roles are OpenSSH's.
    let carrying: Vec<_> = sites.iter().filter(|site| site.role != SiteRole::Other(sites::AAD)).collect();
    let places = places(&carrying, call, Hook::LibraryJump);
    Sites {
        pairs: places.clone(),
        places,
        calls: carrying.len(),
        single: 0,
        spared: sites.len() - carrying.len(),
        emulated: carrying.iter().all(|site| site.emulated),
    }
}

/// Two calls can share the branch after them.
fn places(sites: &[&sites::Site], call: impl Fn(Convention) -> Hook, jump: Hook) -> Vec<(Hook, u64)> {
    let mut jumps: Vec<u64> = sites.iter().map(|site| site.jump).collect();
    jumps.sort_unstable();
    jumps.dedup();
    let calls = sites.iter().map(|site| (call(site.convention), site.call));
    calls.chain(jumps.into_iter().map(|at| (jump, at))).collect()
}
