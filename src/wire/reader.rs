//! A bounded reader over received bytes: every length is checked against what is left before anything is taken.
