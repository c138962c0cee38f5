//! What the files that a client goes by say of a host key that it was shown: known_hosts, ssh's configuration,
//! /etc/hosts, as the client's user.

use crate::{
    host::{known_hosts::Shown, known_hosts_read},
    inspect::{answer::Answer, place::Place},
};

pub(super) fn answer(place: &Place, shown: &Shown) -> Answer {
    let known = known_hosts_read::examine(&place.root, place.cmdline.as_ref(), shown);
    Answer::KnownHosts(Box::new(known))
}
