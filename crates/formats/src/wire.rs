//! Reads protocol buffers: fields straight from a slice, without allocation. Errors have their position.

use model::varint;

/// What is wrong with a message, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    pub what: &'static str,
    /// The address of the faulty byte, or of the end of the message; see [`Fault::offset_in`].
    at: usize,
}

impl Fault {
    #[cold]
    pub fn new(what: &'static str, at: &[u8]) -> Self {
        Fault { what, at: at.as_ptr().addr() }
    }

    /// The offset of the fault in `message`, which contains the faulty slice.
    pub fn offset_in(&self, message: &[u8]) -> usize {
        self.at.saturating_sub(message.as_ptr().addr()).min(message.len())
    }
}

/// The value of a field.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

/// One field of a message.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    pub number: u32,
    pub value: Value<'a>,
    /// The rest of the message from the tag of this field on.
    at: &'a [u8],
}

impl<'a> Field<'a> {
    #[inline]
    pub fn bytes(&self) -> Result<&'a [u8], Fault> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.fault("a field with a length was expected")),
        }
    }

    #[inline]
    pub fn varint(&self) -> Result<u64, Fault> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(self.fault("an integer was expected")),
        }
    }

    /// A `fixed64` or `sfixed64`.
    #[inline]
    pub fn fixed64(&self) -> Result<u64, Fault> {
        match self.value {
            Value::Fixed64(bits) => Ok(bits),
            _ => Err(self.fault("a 64-bit integer was expected")),
        }
    }

    /// A `sint32`: the low half of the varint on the wire, as in any protocol buffer decoder.
    #[inline]
    pub fn sint32(&self) -> Result<i32, Fault> {
        Ok(varint::unzigzag(u64::from(self.varint()? as u32)) as i32)
    }

    #[inline]
    pub fn double(&self) -> Result<f64, Fault> {
        match self.value {
            Value::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(self.fault("a 64-bit float was expected")),
        }
    }

    /// A `repeated` integer field, packed or not. Calls `each` for every number.
    #[inline]
    pub fn varints(&self, mut each: impl FnMut(u64)) -> Result<(), Fault> {
        match self.value {
            Value::Varint(value) => each(value),
            Value::Bytes(mut packed) => {
                while !packed.is_empty() {
                    each(take_varint(&mut packed)?);
                }
            }
            _ => return Err(self.fault("integers were expected")),
        }
        Ok(())
    }

    /// A `repeated double` field, packed or not.
    pub fn doubles(&self, mut each: impl FnMut(f64)) -> Result<(), Fault> {
        self.fixed64s_or("packed floats are cut short", "64-bit floats were expected", |bits| {
            each(f64::from_bits(bits));
        })
    }

    /// A `repeated fixed64` field, packed or not.
    pub fn fixed64s(&self, each: impl FnMut(u64)) -> Result<(), Fault> {
        self.fixed64s_or("packed 64-bit integers are cut short", "64-bit integers were expected", each)
    }

    fn fixed64s_or(
        &self,
        cut_short: &'static str,
        wanted: &'static str,
        mut each: impl FnMut(u64),
    ) -> Result<(), Fault> {
        match self.value {
            Value::Fixed64(bits) => each(bits),
            Value::Bytes(packed) => {
                let (values, rest) = packed.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(Fault::new(cut_short, rest));
                }
                values.iter().for_each(|bytes| each(u64::from_le_bytes(*bytes)));
            }
            _ => return Err(self.fault(wanted)),
        }
        Ok(())
    }

    #[cold]
    pub fn fault(&self, what: &'static str) -> Fault {
        Fault::new(what, self.at)
    }
}

#[inline]
pub fn take_varint(input: &mut &[u8]) -> Result<u64, Fault> {
    varint::take_u64(input).ok_or_else(|| Fault::new("an integer is cut short or too long", input))
}

/// Reads the fields of one message.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    input: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub fn new(input: &'a [u8]) -> Self {
        Reader { input }
    }

    /// The next field, or `None` at the end of the message.
    #[inline]
    #[allow(clippy::should_implement_trait, reason = "an iterator does not end with its first error")]
    pub fn next(&mut self) -> Result<Option<Field<'a>>, Fault> {
        let at = self.input;
        if at.is_empty() {
            return Ok(None);
        }
        let tag = take_varint(&mut self.input)?;
        let number = match u32::try_from(tag) {
            Ok(tag) if tag >= 8 => tag >> 3,
            _ => return Err(Fault::new("a field number is out of range", at)),
        };
        let value = match tag & 7 {
            0 => Value::Varint(take_varint(&mut self.input)?),
            1 => {
                let Some((bytes, rest)) = self.input.split_first_chunk::<8>() else {
                    return Err(Fault::new("a 64-bit field is cut short", at));
                };
                self.input = rest;
                Value::Fixed64(u64::from_le_bytes(*bytes))
            }
            2 => match varint::take_bytes(&mut self.input) {
                Some(bytes) => Value::Bytes(bytes),
                None => return Err(Fault::new("a field is longer than the rest of the message", at)),
            },
            5 => {
                let Some((_, rest)) = self.input.split_first_chunk::<4>() else {
                    return Err(Fault::new("a 32-bit field is cut short", at));
                };
                self.input = rest;
                Value::Fixed32
            }
            _ => return Err(Fault::new("a field has no known wire type", at)),
        };
        Ok(Some(Field { number, value, at }))
    }
}
