//! Every behaviour, through the real thing: one binary, a module for each area.

mod config;
