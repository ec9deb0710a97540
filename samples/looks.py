"""Samples for jobs that need a look at the picture. What is true of them is known because it was drawn so."""

from collections.abc import Mapping
from typing import Any

from printed import Seen
from sample import Sample

GAUGE: Mapping[str, Any] = {"reading": 1.15, "mark": 1.0, "top": 1.6, "step": 0.05, "unit": "MPa"}
SOLDER_FAULTS: dict[str, list[tuple[float, float, float, float]]] = {  # pixels: left, top, right, bottom
    "solder bridge": [(230, 138, 298, 168)],
    "missing solder": [(405, 304, 443, 356)],
    "solder ball": [(520, 420, 540, 440)],
}
SCREEN_WORDS = (
    "Plantbook", "New device", "Device ID", "Name", "Type", "Installed on", "Status", "In service", "Stand-by",
    "Retired", "Critical", "Remarks", "Save", "Cancel",
)  # fmt: skip
IN_VUE = """<template>
  <el-container direction="vertical">
    <el-header><b>Plantbook</b><span>Maren Holt</span></el-header>
    <el-main>
      <el-breadcrumb><el-breadcrumb-item>Equipment</el-breadcrumb-item><el-breadcrumb-item>New device\
</el-breadcrumb-item></el-breadcrumb>
      <el-card header="New device">
        <el-form :model="form" :rules="rules" label-width="140px">
          <el-form-item label="Device ID" prop="id"><el-input v-model="form.id" /></el-form-item>
          <el-form-item label="Name" prop="name"><el-input v-model="form.name" placeholder="Please enter a name" />\
</el-form-item>
          <el-form-item label="Type"><el-select v-model="form.type"><el-option label="Pump" value="Pump" /></el-select>\
</el-form-item>
          <el-form-item label="Installed on"><el-date-picker v-model="form.installed" /></el-form-item>
          <el-form-item label="Status"><el-radio-group v-model="form.status">
            <el-radio value="In service">In service</el-radio><el-radio value="Stand-by">Stand-by</el-radio>\
<el-radio value="Retired">Retired</el-radio>
          </el-radio-group></el-form-item>
          <el-form-item label="Critical"><el-switch v-model="form.critical" /></el-form-item>
          <el-form-item label="Remarks"><el-input v-model="form.remarks" type="textarea" /></el-form-item>
          <el-form-item><el-button type="primary">Save</el-button><el-button>Cancel</el-button></el-form-item>
        </el-form>
      </el-card>
    </el-main>
  </el-container>
</template>

<script setup>
import { reactive } from 'vue'

const form = reactive({
  id: 'SB-0417', name: '', type: 'Pump', installed: '2025-03-14', status: 'In service', critical: true,
  remarks: 'Vibration measured every Monday',
})
const rules = { id: [{ required: true }], name: [{ required: true }] }
</script>
"""
IN_HTML = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Plantbook</title></head>
<body>
<header><b>Plantbook</b><span>Maren Holt</span></header>
<nav>Equipment / New device</nav>
<main>
<h1>New device</h1>
<form>
<label>Device ID <input name="id" value="SB-0417" required></label>
<label>Name <input name="name" placeholder="Please enter a name" required></label>
<label>Type <select name="type"><option>Pump</option></select></label>
<label>Installed on <input type="date" name="installed" value="2025-03-14"></label>
<fieldset><legend>Status</legend>
<label><input type="radio" name="status" checked> In service</label>
<label><input type="radio" name="status"> Stand-by</label>
<label><input type="radio" name="status"> Retired</label>
</fieldset>
<label>Critical <input type="checkbox" name="critical" checked></label>
<label>Remarks <textarea name="remarks">Vibration measured every Monday</textarea></label>
<button type="submit">Save</button>
<button type="button">Cancel</button>
</form>
</main>
</body>
</html>
"""


def gauge() -> Sample:
    return Sample(
        "gauges/pressure_gauge.jpg",
        "gauge",
        "a pressure gauge on a wall, photographed",
        "the needle stands between two numbers, beyond the red mark; glare, slight slant",
        (),
        {
            "dial": Seen([58, 46, 654, 640]),
            "reading": Seen("1.15 MPa"),
            "range_from": Seen("0 MPa"),
            "range_to": Seen("1.6 MPa"),
            "mark": Seen("1 MPa"),
            "beyond_mark": Seen(True),
        },
    )


def picture() -> Sample:
    said = (
        "A loading bay. On the left is a closed roller door under a sign that says DOOR 3. On the right three cartons, "
        "marked A1, A2 and A3, stand on a pallet and block the green door under the sign FIRE EXIT. A red fire "
        "extinguisher hangs on the wall beside it. On the grey floor with its yellow line there is a puddle, and a "
        "yellow warning sign stands next to it."
    )
    return Sample(
        "pictures/loading_bay.jpg",
        "describe",
        "a loading bay, photographed",
        "what matters is not printed: the fire exit is blocked, the floor is wet",
        (),
        {"description": Seen(said)},
        mentions=("DOOR 3", "FIRE EXIT", "pallet", "extinguisher", "puddle"),
    )


def question() -> Sample:
    return Sample(
        "ask/blocked_exit.jpg",
        "ask",
        "the loading bay once more, with a question in a text beside it",
        "the answer is nowhere printed",
        (),
        {"answer": Seen("No. Three cartons on a pallet stand in front of the fire exit.")},
        mentions=("No", "cartons", "pallet"),
        question="Can people leave through the fire exit? If not, what is in the way?",
    )


def figure() -> Sample:
    caption = (
        "Figure 3. Axial CT of the chest in the lung window, without contrast medium. A solid nodule of 14 mm with a "
        "spiculated edge in the left upper lobe (arrow). A small effusion lies behind the right lung (asterisk). "
        "No enlarged lymph nodes."
    )
    return Sample(
        "figures/ct_chest.jpg",
        "figure_report",
        "a figure of a medical paper with its caption: a CT slice that was drawn and shows nobody",
        "the side that is left in the picture is the patient's right; marks are explained in the caption only",
        (),
        {
            "modality": Seen("CT"),
            "region": Seen("chest"),
            "caption": Seen(caption),
            "findings": [
                Seen("Solid nodule of 14 mm with a spiculated edge in the left upper lobe (arrow)."),
                Seen("Small effusion behind the right lung (asterisk)."),
                Seen("No enlarged lymph nodes."),
            ],
            "impression": Seen(
                "A spiculated nodule of 14 mm in the left upper lobe is the leading finding; with a small effusion on "
                "the right and no enlarged lymph nodes."
            ),
        },
        mentions=("nodule", "14 mm", "left upper lobe", "effusion"),
    )


def _screen(job: str, code: str) -> Sample:
    return Sample(
        "screens/device_form.png",
        job,
        "a screen of a web program with a form",
        "required marks, a placeholder, a chosen radio button and a switch that is on",
        (),
        {"code": Seen(code)},
        mentions=SCREEN_WORDS,
    )


def vue() -> Sample:
    return _screen("ui_to_code", IN_VUE)


def html() -> Sample:
    return _screen("ui_to_html", IN_HTML)


def solder() -> Sample:
    notes = {
        "solder bridge": "joins pins 4 and 5 of the upper row",
        "missing solder": "pin 8 of the lower row has none",
        "solder ball": "lies loose below the chip",
    }
    return Sample(
        "boards/solder_faults.jpg",
        "solder_faults",
        "a soldered board, photographed from above",
        "one fault is small, and one is something that is not there",
        (),
        {
            "faults": [
                {"box": Seen([int(edge) for edge in box]), "label": Seen(label), "note": Seen(notes[label])}
                for label, boxes in SOLDER_FAULTS.items()
                for box in boxes
            ]
        },
    )
