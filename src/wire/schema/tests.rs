use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use proptest::prelude::*;

use super::*;
use crate::wire::message::crate_version;
use coded::{CODED, Coded};

mod coded;

/// What Kafka 4.3.1 lists, with the two of telemetry; the crate lacks the two of streams groups.
const COUNT: usize = 77;

/// Decides what a generated body holds; when it runs out, everything is small.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }
}

/// Encodes a body that its schema allows.
struct Generator<'a> {
    version: i16,
    format: Format,
    choices: Choices<'a>,
    out: Vec<u8>,
}

impl Generator<'_> {
    fn length(&mut self, wide: bool, length: Option<usize>) {
        let length = length.map_or(-1, |length| length as i32);
        match self.format {
            Format::Flexible => self.out.push((length + 1) as u8),
            Format::Classic if wide => self.out.extend(length.to_be_bytes()),
            Format::Classic => self.out.extend((length as i16).to_be_bytes()),
        }
    }

    fn fields(&mut self, fields: &'static [Field]) {
        let version = self.version;
        for field in fields.iter().filter(|field| field.tag.is_none() && field.is_in(version)) {
            self.value(&field.ty, field.is_nullable(version));
        }
        if self.format.is_flexible() {
            self.tags(fields);
        }
    }

    fn tags(&mut self, fields: &'static [Field]) {
        let version = self.version;
        let mut known: Vec<&Field> =
            fields.iter().filter(|field| field.tag.is_some() && field.is_in(version)).collect();
        known.sort_by_key(|field| field.tag);
        known.retain(|_| self.choices.byte() & 1 == 1);
        let unknown = self.choices.byte() % 8 == 7;
        self.out.push((known.len() + usize::from(unknown)) as u8);
        for field in known {
            let before = std::mem::take(&mut self.out);
            self.value(&field.ty, field.is_nullable(version));
            let content = std::mem::replace(&mut self.out, before);
            self.out.extend([field.tag.unwrap() as u8, content.len() as u8]);
            self.out.extend(content);
        }
        if unknown {
            self.out.extend([100, 2, 7, 7]);
        }
    }

    fn value(&mut self, ty: &'static Type, nullable: bool) {
        let choice = self.choices.byte();
        let null = nullable && choice >= 0xc0;
        let length = (!null).then_some(usize::from(choice % 4));
        match ty {
            Type::Fixed(width) => {
                let bytes = (0..*width).map(|_| self.choices.byte()).collect::<Vec<_>>();
                self.out.extend(bytes);
            }
            Type::String | Type::Bytes => {
                self.length(matches!(ty, Type::Bytes), length);
                self.out.extend(std::iter::repeat_n(b'a' + choice % 16, length.unwrap_or(0)));
            }
            Type::Struct(fields) => {
                if nullable {
                    self.out.push(if null { 0xff } else { 1 });
                }
                if !null {
                    self.fields(fields);
                }
            }
            Type::Array { of, .. } => {
                self.length(true, length);
                (0..length.unwrap_or(0)).for_each(|_| self.value(of, false));
            }
        }
    }
}

fn body(request: &Request, version: i16, choices: &[u8]) -> Vec<u8> {
    let format = request.format(version);
    let mut generator = Generator { version, format, choices: Choices(choices), out: Vec::new() };
    generator.fields(request.fields);
    generator.out
}

fn all() -> impl Iterator<Item = &'static Request> {
    BY_KEY.iter().flatten().copied()
}

fn coded(key: i16) -> Option<&'static Coded> {
    CODED.iter().find(|coded| coded.api as i16 == key)
}

/// What the walk accepts, the crate must decode, where it can code that version at all.
fn crate_agrees(
    request: &Request,
    version: i16,
    bytes: &[u8],
    coding: impl Fn(&Coded) -> fn(i16, Bytes) -> Result<usize, String>,
) -> Result<usize, String> {
    check(request.key, version, bytes).map_err(|error| format!("the walk: {error}"))?;
    let Some(coded) = coded(request.key) else { return Ok(0) };
    let version = crate_version(coded.api, version);
    if version > coded.versions.max {
        return Ok(0);
    }
    coding(coded)(version, Bytes::copy_from_slice(bytes)).map_err(|error| format!("the crate: {error}"))
}

/// Damaged bytes may be refused; if they are not, the crate must decode them.
fn damaged_is_safe(request: &Request, version: i16, bytes: &[u8]) {
    if check(request.key, version, bytes).is_ok() {
        let agreed = crate_agrees(request, version, bytes, |coded| coded.decode);
        assert!(agreed.is_ok(), "{} v{version}: {agreed:?} on {bytes:02x?}", request.name);
    }
}

#[test]
fn every_request_that_kafka_lists_is_here_in_the_same_versions() {
    assert_eq!(all().count(), COUNT);
    assert_eq!(CODED.len(), COUNT - 2);
    for coded in CODED {
        let request = of_key(coded.api as i16).unwrap();
        let versions = coded.versions;
        assert_eq!(*request.versions.start(), versions.min, "{}", request.name);
        for version in versions.min..=versions.max {
            let header = coded.api.request_header_version(version);
            assert_eq!(request.format(version).is_flexible(), header == 2, "{} v{version}", request.name);
        }
    }
    let last = |key| *of_key(key).unwrap().versions.end();
    assert_eq!([last(0), last(1), last(2), last(22), last(35)], [13, 18, 11, 5, 5]);
    assert!(of_key(4).is_none() && of_key(-1).is_none() && of_key(1000).is_none());
}

#[test]
fn every_default_of_the_crate_passes() {
    for coded in CODED {
        let request = of_key(coded.api as i16).unwrap();
        let versions = coded.versions;
        for version in versions.min..=versions.max.min(*request.versions.end()) {
            if let Some(bytes) = (coded.default)(version) {
                assert_eq!(check(request.key, version, &bytes), Ok(()), "{} v{version} {bytes:02x?}", request.name);
            }
        }
    }
}

#[test]
fn every_shape_is_the_crates() {
    let dense: Vec<u8> = (0..4000).map(|index: u32| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for request in all() {
        for version in request.versions.clone() {
            for choices in [&[][..], &[1; 300], &[2; 300], &[0xc1; 300], &dense, &dense[1000..], &dense[2500..]] {
                let bytes = body(request, version, choices);
                let agreed = crate_agrees(request, version, &bytes, |coded| coded.round_trip);
                assert_eq!(agreed, Ok(0), "{} v{version} {bytes:02x?}", request.name);
            }
        }
    }
}

#[test]
fn lies_in_every_place_are_found() {
    for request in all() {
        for version in request.versions.clone() {
            let whole = body(request, version, &[1; 200]);
            for at in 0..whole.len() {
                damaged_is_safe(request, version, &whole[..at]);
                for lie in [&[0xff][..], &[0x7f, 0xff, 0xff, 0xff], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0x80; 6]] {
                    let mut bytes = whole.clone();
                    bytes.splice(at..(at + lie.len()).min(whole.len()), lie.iter().copied());
                    damaged_is_safe(request, version, &bytes);
                }
            }
        }
    }
}

#[test]
fn a_structure_takes_no_more_than_the_walk_counts() {
    for coded in CODED {
        let request = of_key(coded.api as i16).unwrap();
        assert!(coded.size <= Type::Struct(request.fields).memory(), "{}: {}", request.name, coded.size);
    }
}

#[test]
fn an_element_takes_no_more_than_the_walk_counts() {
    use kafka_protocol::messages::{
        create_topics_request as create, fetch_request as fetch, join_group_request as join,
        metadata_request as metadata, offset_commit_request as commit,
    };
    /// What the walk counts for an element of the array that the names lead to.
    fn counted(api: ApiKey, path: &[&str]) -> usize {
        let mut fields = of_key(api as i16).unwrap().fields;
        let mut counted = 0;
        for name in path {
            let field = fields.iter().find(|field| field.name == *name).unwrap();
            let Type::Array { of, memory } = &field.ty else { panic!("{name} is no array") };
            counted = *memory;
            fields = if let Type::Struct(fields) = of { fields } else { &[] };
        }
        counted
    }
    assert!(counted(ApiKey::Metadata, &["Topics"]) >= size_of::<metadata::MetadataRequestTopic>());
    assert!(counted(ApiKey::Fetch, &["Topics"]) >= size_of::<fetch::FetchTopic>());
    assert!(counted(ApiKey::Fetch, &["Topics", "Partitions"]) >= size_of::<fetch::FetchPartition>());
    assert!(counted(ApiKey::JoinGroup, &["Protocols"]) >= size_of::<join::JoinGroupRequestProtocol>());
    assert!(counted(ApiKey::CreateTopics, &["Topics"]) >= size_of::<create::CreatableTopic>());
    assert!(counted(ApiKey::CreateTopics, &["Topics", "Configs"]) >= size_of::<create::CreatableTopicConfig>());
    let committed = counted(ApiKey::OffsetCommit, &["Topics", "Partitions"]);
    assert!(committed >= size_of::<commit::OffsetCommitRequestPartition>());
    assert_eq!(counted(ApiKey::DescribeGroups, &["Groups"]), size_of::<Bytes>());
}

/// The walk ends with the bytes because each element of an array takes one at least.
#[test]
fn no_element_is_empty() {
    fn smallest(ty: &Type, version: i16) -> usize {
        match ty {
            Type::Fixed(width) => *width,
            Type::String | Type::Bytes | Type::Array { .. } => 1,
            Type::Struct(fields) => {
                let present = fields.iter().filter(|field| field.tag.is_none() && field.is_in(version));
                present.map(|field| smallest(&field.ty, version)).sum()
            }
        }
    }
    fn elements(ty: &'static Type, version: i16, name: &str) {
        match ty {
            Type::Struct(fields) => {
                fields
                    .iter()
                    .filter(|field| field.is_in(version))
                    .for_each(|field| elements(&field.ty, version, field.name));
            }
            Type::Array { of, .. } => {
                assert!(smallest(of, version) > 0, "{name} v{version}");
                elements(of, version, name);
            }
            _ => {}
        }
    }
    for request in all() {
        for version in request.versions.clone() {
            let present = request.fields.iter().filter(|field| field.is_in(version));
            present.for_each(|field| elements(&field.ty, version, field.name));
        }
    }
}

#[test]
fn memory_follows_the_bytes_received() {
    // Metadata v9 with many topics of one byte each, which would become 72 bytes each.
    let topics = |count: u32| {
        let mut bytes = vec![0x80 | (count + 1) as u8, 0x80 | ((count + 1) >> 7) as u8, ((count + 1) >> 14) as u8];
        bytes.resize(3 + 2 * count as usize, 1);
        (0..count as usize).for_each(|index| bytes[4 + 2 * index] = 0);
        bytes.extend([0, 0, 0, 0]);
        bytes
    };
    assert_eq!(check(ApiKey::Metadata as i16, 9, &topics(1000)), Ok(()));
    assert_eq!(check(ApiKey::Metadata as i16, 9, &topics(100_000)), Err(crate::wire::TOO_MANY_ELEMENTS));
    // Names of an ordinary length pass in any number.
    let mut bytes = 200_000_i32.to_be_bytes().to_vec();
    (0..200_000).for_each(|_| bytes.extend(b"\0\x0corders.daily"));
    assert_eq!(check(ApiKey::Metadata as i16, 8, &[&bytes[..], &[1, 0, 0]].concat()), Ok(()));
    // An unknown tag in every element costs a map each.
    let mut bytes = vec![0x81, 0x80, 0x02];
    (0..0x8000).for_each(|_| bytes.extend([2, b't', 1, 9, 0]));
    bytes.extend([0, 0, 0, 0]);
    assert_eq!(check(ApiKey::Metadata as i16, 9, &bytes), Err(crate::wire::TOO_MANY_ELEMENTS));
}

#[test]
fn what_kafka_tolerates_is_tolerated_and_no_more() {
    let metadata = |version, bytes: &[u8]| check(ApiKey::Metadata as i16, version, bytes);
    // Bytes after the end, tags out of order, tags twice, a true that is not 1, a long varint.
    assert_eq!(metadata(1, &[0, 0, 0, 0, 9, 9]), Ok(()));
    assert_eq!(metadata(9, &[1, 1, 0, 0, 2, 5, 0, 3, 0]), Ok(()));
    assert_eq!(metadata(9, &[1, 1, 0, 0, 2, 5, 0, 5, 0]), Ok(()));
    assert_eq!(metadata(9, &[1, 7, 0, 0, 0]), Ok(()));
    assert_eq!(metadata(9, &[0x81, 0, 1, 0, 0, 0]), Ok(()));
    // A count below -1, null where it is not allowed, a varint of six bytes, a version that is not served.
    assert!(metadata(0, &[0xff, 0xff, 0xff, 0xfe]).is_err());
    assert!(metadata(0, &[0xff; 4]).is_err());
    assert!(metadata(1, &[0, 0, 0, 1, 0xff, 0xff]).is_err());
    assert!(metadata(9, &[0x81, 0x80, 0x80, 0x80, 0x80, 0, 1, 0, 0, 0]).is_err());
    assert_eq!(metadata(14, &[]), Err(WireError::Unsupported { key: 3, version: 14 }));
    // The four bytes that made the crate reserve half of the address space.
    assert_eq!(metadata(0, &[0x7f, 0xff, 0xff, 0xff]), Err(WireError::Truncated));
    // Fetch's replica state (tag 1) came with version 15.
    let fetch = |version, tag: &[u8]| {
        let mut bytes = vec![0; if version < 15 { 4 } else { 0 }];
        bytes.extend([0; 12]);
        bytes.extend([0; 9]);
        bytes.extend([1, 1, 1]);
        bytes.extend(tag);
        check(ApiKey::Fetch as i16, version, &bytes)
    };
    let state = [1, 1, 13, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    assert_eq!(fetch(15, &state), Ok(()));
    assert!(fetch(14, &state).is_err());
    let mut longer = state.to_vec();
    longer[2] = 14;
    longer.push(0);
    assert!(fetch(15, &longer).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn allowed_bodies_are_decoded(which in 0..COUNT, at in 0_usize..20, choices: Vec<u8>) {
        let request = all().nth(which).unwrap();
        let version = request.versions.clone().cycle().nth(at).unwrap();
        let bytes = body(request, version, &choices);
        prop_assert_eq!(crate_agrees(request, version, &bytes, |coded| coded.round_trip), Ok(0), "{} v{} {:02x?}", request.name, version, bytes);
    }

    #[test]
    fn damaged_bodies_never_reach_a_decoder(
        which in 0..COUNT,
        at in 0_usize..20,
        choices: Vec<u8>,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let request = all().nth(which).unwrap();
        let version = request.versions.clone().cycle().nth(at).unwrap();
        let mut bytes = body(request, version, &choices);
        bytes.push(0);
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        damaged_is_safe(request, version, &bytes);
    }

    #[test]
    fn any_bytes_give_an_answer(which in 0..COUNT, at in 0_usize..20, bytes: Vec<u8>) {
        let request = all().nth(which).unwrap();
        let version = request.versions.clone().cycle().nth(at).unwrap();
        damaged_is_safe(request, version, &bytes);
    }
}
