//! The four codecs, with a bound on what they may expand to.
