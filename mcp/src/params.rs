//! The `params` of a request or notification, parsed once.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::{JsonError, Members};

/// The parameters of a message. Their members are found once, and converted when the method that
/// knows their types needs them. Borrows from the body.
#[derive(Clone, Debug)]
pub(crate) struct Params<'a> {
    members: Members<'a>,
    /// The members of `_meta`. `None`: absent, or not usable.
    meta: Option<Members<'a>>,
}

impl<'a> Params<'a> {
    /// Finds the members. Absent parameters are read as `{}`.
    pub(crate) fn new(params: Option<&'a RawValue>) -> Self {
        let members = params.map_or(Members::NONE, Members::new);
        let meta = members.get("_meta").map(Members::new);
        Self { members, meta }
    }

    /// Returns the value of a parameter. `None`: it is absent, `null`, or occurs more than once.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.members.get(name)
    }

    /// Returns the value of a member of `_meta`. `None`: it is absent, `null`, or occurs more than
    /// once, or there is no `_meta`.
    pub(crate) fn meta(&self, name: &str) -> Option<&'a RawValue> {
        self.meta.as_ref()?.get(name)
    }

    /// Converts the parameters to a struct.
    pub(crate) fn read<T: Deserialize<'a>>(&self) -> Result<T, JsonError> {
        self.members.read()
    }

    /// Converts `_meta` to a struct.
    pub(crate) fn read_meta<T: Deserialize<'a>>(&self) -> Result<T, JsonError> {
        #[derive(Deserialize)]
        struct Whole<T> {
            #[serde(rename = "_meta")]
            meta: T,
        }
        match self.meta.as_ref().map(Members::read) {
            Some(Ok(read)) => Ok(read),
            // To determine the path of the error.
            Some(Err(_)) | None => Ok(self.members.read::<Whole<T>>()?.meta),
        }
    }
}
