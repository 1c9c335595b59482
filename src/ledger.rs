//! Reserve, settle, replay: where balances are kept.
//!
//! [`Ledger`] is the contract every store of balances fulfils; [`log`] is the record of truth that
//! all of them are projections of; [`Book`] puts the two together and is what the rest of Weir
//! talks to. It does not know HTTP, models or prices.
//!
//! The life of a reservation: [`Book::reserve`] holds the worst case on every account in one atomic
//! step and writes INTENT; [`Reservation::settle`] posts the actual once and writes SETTLE;
//! [`Reservation::void`] releases it, with proof that nothing was billed. A reservation that is
//! dropped without either is charged in full as [`CostSource::Unresolved`]: never free.
