//! What becomes of budgets when Redis, or a gateway, forgets or goes.

use super::*;
