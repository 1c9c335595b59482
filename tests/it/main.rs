//! Weir through its front door: real sockets, a real process, scripted providers.
