//! Writes a program from its end to its beginning: jumps only go forward, so
//! what a jump leads to is there before it.

use super::program::{Program, Test};
use crate::sys::Instruction;

/// A place in the program: how many instructions there are from it to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label(usize);

/// A program in the making.
#[derive(Debug, Default)]
pub struct Assembler {
    /// Last instruction first.
    reversed: Vec<Instruction>,
    /// Where the latest answer with a value is.
    answers: Vec<(u32, Label)>,
}

/// How far a conditional jump can lead. Less than the 255 of the format, since
/// each of its two ways may still put one instruction in between.
const REACH: usize = 250;

impl Assembler {
    /// Ends with this result.
    pub fn answer(&mut self, value: u32) -> Label {
        let known = self.answers.iter().find(|(other, _)| *other == value);
        if let Some((_, label)) = known.filter(|(_, label)| self.distance(*label) < REACH) {
            return *label;
        }
        let label = self.push(Instruction::answer(value));
        self.answers.retain(|(other, _)| *other != value);
        self.answers.push((value, label));
        label
    }

    /// Loads 32 bits of `struct seccomp_data` and goes on at `next`.
    pub fn load(&mut self, offset: u32, next: Label) -> Label {
        self.follow(next);
        self.push(Instruction::load(offset))
    }

    /// Masks what is loaded and goes on at `next`.
    pub fn mask(&mut self, mask: u32, next: Label) -> Label {
        self.follow(next);
        self.push(Instruction::mask(mask))
    }

    /// Goes on at one of two places.
    pub fn jump(&mut self, test: Test, operand: u32, when: Label, otherwise: Label) -> Label {
        if when == otherwise {
            return when;
        }
        let (when, otherwise) = (self.near(when), self.near(otherwise));
        let (true_way, false_way) = (self.distance(when) as u8, self.distance(otherwise) as u8);
        self.push(Instruction::jump(test, operand, true_way, false_way))
    }

    /// Goes on with a whole program.
    pub fn include(&mut self, program: &Program) -> Label {
        self.reversed.extend(program.0.iter().rev());
        Label(self.reversed.len())
    }

    /// The program; `None` if it is too long for the kernel.
    pub fn finish(mut self) -> Option<Program> {
        self.reversed.reverse();
        Program::new(self.reversed)
    }

    fn push(&mut self, instruction: Instruction) -> Label {
        self.reversed.push(instruction);
        Label(self.reversed.len())
    }

    /// Instructions between the next one and a place.
    fn distance(&self, label: Label) -> usize {
        self.reversed.len() - label.0
    }

    /// Makes sure that what is written next is followed by `label`.
    fn follow(&mut self, label: Label) {
        if self.distance(label) > 0 {
            self.push(Instruction::skip(self.distance(label) as u32));
        }
    }

    /// A place from which `label` is reached, and that a jump reaches.
    fn near(&mut self, label: Label) -> Label {
        match self.distance(label) {
            far if far > REACH => self.push(Instruction::skip(far as u32)),
            _ => label,
        }
    }
}
