//! What the files that a client goes by say of a host key that it was shown: known_hosts, ssh's configuration,
//! /etc/hosts, as the client's user.

use crate::{
    event::{host_key::Extent, stream::Role},
    host::{known_hosts::Shown, known_hosts_read, program},
    inspect::{answer::Answer, place::Place},
};

pub(super) fn answer(place: &Place, mut shown: Shown) -> Answer {
    let role = place.content.as_ref().and_then(|file| program::classify_open(file).ok());
    if !shown.examined && role != Some(Role::Client) {
        shown.args = None;
    }
    let mut known = known_hosts_read::examine(&place.root, place.cmdline.as_ref(), &shown);
    if !shown.examined && role.is_none() {
        // It has ended: perhaps it was ssh, and read other files.
        known.extent = Extent::Part;
    }
    Answer::KnownHosts(Box::new(known))
}
