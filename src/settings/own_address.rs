//! A listener besides the main one, for what others know on a port of its own.
//!
//! Decides between the setting and the variable that its users know: the variable wins, and changes the port
//! only. Nothing may listen where something else does.

use super::Listen;
use super::origin::Origin;
use super::problem::Complaint;
use super::reader::Section;
use super::sections::read::address;
use std::net::SocketAddr;

const TAKEN: &str = "must be another address than the others";

/// The address that `key` of the section or `variable` names, which none of the `others` has; `None` where
/// neither names one.
pub(super) fn own_address(
    section: &Section<'_>,
    key: &'static str,
    variable: &'static str,
    listen: &Listen,
    others: &[SocketAddr],
) -> Option<SocketAddr> {
    let reader = section.reader();
    let taken = |address: &SocketAddr| {
        let mut all = listen.all().chain(others.iter().copied());
        all.any(|other| other == *address)
    };
    let apart = |text: &str| {
        let address = address(text)?;
        if taken(&address) {
            return Err(Complaint::new(TAKEN));
        }
        Ok(address)
    };
    let (mut address, mut origin) = match section.resolve(key, apart) {
        Some((address, origin)) => (Some(address), origin),
        None => (None, Origin::Default),
    };
    if let Some(text) = reader.environment.filled(variable) {
        match text.trim().parse() {
            Ok(port) => {
                let mut chosen = address.unwrap_or(listen.http);
                chosen.set_port(port);
                if taken(&chosen) {
                    reader.report_variable(variable, Complaint::new(TAKEN));
                }
                (address, origin) = (Some(chosen), Origin::Variable(variable));
            }
            Err(_) => {
                let complaint = Complaint::new("must be a port between 0 and 65535");
                reader.report_variable(variable, complaint);
            }
        }
    }
    if let Some(address) = address {
        reader.fact(section.path_of(key), address.to_string(), origin);
    }
    address
}
