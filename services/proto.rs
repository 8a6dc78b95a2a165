//! The generated contract: messages, clients and servers, JSON and the REST table. Nothing here is written by hand.
