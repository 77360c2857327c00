//! The 16 flag bits and their text form; the entity type within them.

use std::fmt;

/// What a token stands for: bits 8 to 11 of its flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are their own documentation; contracts fix their order")]
pub enum EntityType {
    #[default]
    Undefined,
    Object,
    Event,
    State,
    Process,
    Concept,
    Relation,
    Pattern,
    Rule,
    Goal,
    Memory,
    Sensor,
    Actuator,
    Controller,
    Buffer,
    Reserved,
}

impl EntityType {
    /// All sixteen, by number.
    pub const ALL: [EntityType; 16] = [
        EntityType::Undefined,
        EntityType::Object,
        EntityType::Event,
        EntityType::State,
        EntityType::Process,
        EntityType::Concept,
        EntityType::Relation,
        EntityType::Pattern,
        EntityType::Rule,
        EntityType::Goal,
        EntityType::Memory,
        EntityType::Sensor,
        EntityType::Actuator,
        EntityType::Controller,
        EntityType::Buffer,
        EntityType::Reserved,
    ];
}

/// The 16 flag bits; bits 8 to 11 hold the [`EntityType`].
///
/// Text form: the names of the bits that are set, joined by `|`, or `none`. It leaves the entity type out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Flags(u16);

/// A text that names a flag which is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no flag; expected names such as ACTIVE|LOCKED|USER_1, or none")]
pub struct ParseFlagsError {
    /// The name.
    pub name: String,
}

impl Flags {
    const NAMES: [(Flags, &str); 12] = [
        (Flags::ACTIVE, "ACTIVE"),
        (Flags::PERSISTENT, "PERSISTENT"),
        (Flags::MUTABLE, "MUTABLE"),
        (Flags::SYNCHRONIZED, "SYNCHRONIZED"),
        (Flags::COMPRESSED, "COMPRESSED"),
        (Flags::ENCRYPTED, "ENCRYPTED"),
        (Flags::DIRTY, "DIRTY"),
        (Flags::LOCKED, "LOCKED"),
        (Flags::USER_1, "USER_1"),
        (Flags::USER_2, "USER_2"),
        (Flags::USER_3, "USER_3"),
        (Flags::USER_4, "USER_4"),
    ];

    /// In use.
    pub const ACTIVE: Flags = Flags(0x0001);
    /// Logged also where only marked tokens are; never evicted.
    pub const PERSISTENT: Flags = Flags(0x0002);
    /// May be changed.
    pub const MUTABLE: Flags = Flags(0x0004);
    /// In step with other copies.
    pub const SYNCHRONIZED: Flags = Flags(0x0008);
    /// Content is compressed elsewhere.
    pub const COMPRESSED: Flags = Flags(0x0010);
    /// Content is encrypted elsewhere.
    pub const ENCRYPTED: Flags = Flags(0x0020);
    /// Changed since last written elsewhere.
    pub const DIRTY: Flags = Flags(0x0040);
    /// Never evicted.
    pub const LOCKED: Flags = Flags(0x0080);
    /// Free for the user.
    pub const USER_1: Flags = Flags(0x1000);
    /// Free for the user.
    pub const USER_2: Flags = Flags(0x2000);
    /// Free for the user.
    pub const USER_3: Flags = Flags(0x4000);
    /// Free for the user.
    pub const USER_4: Flags = Flags(0x8000);

    /// Every pattern of 16 bits is valid.
    pub const fn from_bits(bits: u16) -> Flags {
        Flags(bits)
    }

    /// The 16 bits.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Are all bits of `other` set?
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The union.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// What is in `self` and not in `other`.
    #[must_use]
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    /// Bits 8 to 11.
    pub fn entity_type(self) -> EntityType {
        EntityType::ALL[usize::from(self.0 >> 8 & 0xf)]
    }

    /// With other bits 8 to 11.
    #[must_use]
    pub const fn with_entity_type(self, entity: EntityType) -> Flags {
        Flags(self.0 & !0x0f00 | (entity as u16) << 8)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = Flags::NAMES.iter().filter(|(flag, _)| self.contains(*flag));
        match names.next() {
            None => f.write_str("none"),
            Some((_, first)) => {
                f.write_str(first)?;
                names.try_for_each(|(_, name)| write!(f, "|{name}"))
            }
        }
    }
}

impl std::str::FromStr for Flags {
    type Err = ParseFlagsError;

    fn from_str(text: &str) -> Result<Flags, ParseFlagsError> {
        if text == "none" {
            return Ok(Flags(0));
        }
        text.split('|').try_fold(Flags(0), |flags, name| {
            match Flags::NAMES.iter().find(|(_, known)| *known == name) {
                Some((flag, _)) => Ok(flags.with(*flag)),
                None => Err(ParseFlagsError { name: name.chars().take(64).collect() }),
            }
        })
    }
}

impl std::ops::BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        self.with(other)
    }
}
