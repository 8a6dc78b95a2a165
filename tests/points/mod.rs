//! What the program does when it ends at the worst moments, and when the database does what it is
//! asked to and never says so: at each of sixteen named points of the code, and at any commit.

mod ambiguous;
mod check;
mod crash;
mod load;
