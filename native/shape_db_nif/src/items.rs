//! Lists as arguments. Those of rustler panic on an improper list, which would be
//! caught, but tells the caller nothing and prints a trace.

use rustler::{Decoder, Error, NifResult, Term};
use smallvec::SmallVec;

/// The items of a proper list: hardly any shape has more tables than have room beside it.
pub(crate) struct Items<T>(pub(crate) SmallVec<[T; 4]>);

impl<'a, T: Decoder<'a>> Decoder<'a> for Items<T> {
    fn decode(list: Term<'a>) -> NifResult<Self> {
        let mut items = SmallVec::new();
        let mut rest = list;
        while let Ok((item, tail)) = rest.list_get_cell() {
            items.push(item.decode()?);
            rest = tail;
        }
        if rest.is_empty_list() { Ok(Self(items)) } else { Err(Error::BadArg) }
    }
}
